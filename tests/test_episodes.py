"""Distributions of tasks: a sinusoid by hand, tasks that contradict each other, parts that share nothing."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import pytest
import torch

from clkit.data import load
from clkit.episodes import PARTS, LabelSwap, Sinusoids, cross_entropy, distribution, right, squared_error
from clkit.errors import ClkitError
from clkit.replicas import Draws


@dataclass(frozen=True)
class Quarters(Draws):
    """Every uniform number is 0.25."""

    def uniform(self, purpose, shape, task=0, counter=0):
        return torch.full((self.replicas, *shape), 0.25, dtype=torch.float64)


@pytest.mark.parametrize(("flip", "sign"), [(False, 1.0), (True, -1.0)])
def test_sinusoid_by_hand(flip, sign):
    # a = 0.1 + 4.9/4 = 1.325, b = pi/4, x = 10/4 - 5 = -2.5
    episode = Sinusoids(shots=3, flip=flip).episode(Quarters((0,), dtype=torch.float64), 2, 0)
    assert episode.support.x.shape == episode.support.y.shape == (2, 3, 1)
    assert torch.equal(episode.support.x, torch.full((2, 3, 1), -2.5, dtype=torch.float64))
    expected = sign * 1.325 * torch.sin(torch.tensor(-2.5 - pi / 4, dtype=torch.float64))
    assert torch.allclose(episode.support.y, expected, atol=1e-12, rtol=0)


def test_amplitude_and_phase_belong_to_the_task():
    # a sin(x - b) = p sin x + q cos x: two numbers fit all points of a task; with a phase per point none do.
    episode = Sinusoids().episode(Draws((0, 1), dtype=torch.float64), 5, 0, "test")
    assert episode.query.x.shape == (10, 100, 1)
    assert torch.allclose(episode.query.x[3, [0, 99], 0], torch.tensor([-5.0, 5.0], dtype=torch.float64))
    x = torch.cat([episode.support.x, episode.query.x], 1)
    y = torch.cat([episode.support.y, episode.query.y], 1)
    basis = torch.cat([x.sin(), x.cos()], -1)
    fit = torch.linalg.lstsq(basis, y).solution
    assert torch.allclose(basis @ fit, y, atol=1e-10)
    p, q = fit[..., 0].unbind(1)
    amplitude, phase = torch.hypot(p, q), torch.atan2(-q, p)
    assert ((amplitude > 0.1) & (amplitude < 5) & (phase > 0) & (phase < pi)).all()
    assert len(amplitude.unique()) == len(phase.unique()) == 10


def test_flipped_tasks_cancel_and_others_do_not():
    # At x = 0: E[y] = E[a] E[sin(-b)] = -2.55 * 2/pi = -1.62 without a sign, 0 with one; sd of y about 2.
    means = []
    for flip in (False, True):
        episode = Sinusoids(flip=flip).episode(Draws((0,)), 4000, 0, "test")
        means.append(float(episode.query.y[:, 49:51].mean()))
    assert means[0] == pytest.approx(-1.62, abs=6 * 2 / sqrt(4000))
    assert means[1] == pytest.approx(0.0, abs=6 * 2 / sqrt(4000))


@pytest.mark.parametrize("tasks", [Sinusoids(), LabelSwap()])
def test_a_replica_does_not_depend_on_the_others(tasks):
    pair, alone = tasks.episode(Draws((3, 1)), 4, 7), tasks.episode(Draws((1,)), 4, 7)
    for both, one in ((pair.support, alone.support), (pair.query, alone.query)):
        assert torch.equal(both.x[4:], one.x) and torch.equal(both.y[4:], one.y)
    assert not torch.equal(pair.query.y[:4], pair.query.y[4:])


@pytest.mark.parametrize("tasks", [Sinusoids(), LabelSwap()])
def test_every_part_and_every_episode_has_tasks_of_its_own(tasks):
    draws = Draws((0,))
    drawn = [tasks.episode(draws, 4, i, part).support.y for part in PARTS for i in (0, 1)]
    for i, y in enumerate(drawn):
        assert not any(torch.equal(y, other) for other in drawn[:i])
    assert torch.equal(drawn[0], tasks.episode(draws, 4, 0).support.y)


@pytest.mark.parametrize("part", PARTS)
def test_support_and_query_share_no_image(part):
    tasks, data = LabelSwap(shots=3, queries=4), load("digits")
    rows = tasks.rows(Draws((0, 1)), 6, 2, part)
    assert rows.shape == (12, 10, 7)
    assert torch.equal(data.y[rows], torch.arange(10)[:, None].expand(12, 10, 7))
    assert all(len(task.unique()) == 70 for task in rows)
    episode = tasks.episode(Draws((0, 1)), 6, 2, part)
    assert torch.equal(episode.support.x, data.x[rows[..., :3].flatten(1)])
    assert torch.equal(episode.query.x, data.x[rows[..., 3:].flatten(1)])


def test_held_out_tasks_show_images_that_training_does_not():
    pools = {part: set(LabelSwap().pool(part).flatten().tolist()) - {-1} for part in PARTS}
    assert [len(pools[part]) for part in PARTS] == [1097, 200, 500]
    assert not pools["train"] & (pools["validation"] | pools["test"])
    assert not pools["validation"] & pools["test"]


def test_every_image_has_its_turn():
    # 200 episodes of 4 tasks take 10 of about 110 images per class: each about 73 times.
    tasks, draws = LabelSwap(), Draws((0,))
    rows = torch.cat([tasks.rows(draws, 4, i, "train").flatten() for i in range(200)])
    counts = rows.bincount(minlength=1797)[load("digits").train]
    assert counts.min() > 20 and counts.max() < 160


def test_label_swap_permutes_the_classes_by_task():
    tasks, data = LabelSwap(), load("digits")
    episode, rows = tasks.episode(Draws((0,)), 30, 0), tasks.rows(Draws((0,)), 30, 0, "train")
    given: dict[int, set[int]] = {}
    for task, support, query in zip(rows, episode.support.y, episode.query.y, strict=True):
        labels = torch.cat([support.view(10, 5), query.view(10, 5)], 1)  # by class
        assert (labels == labels[:, :1]).all()  # one name per class, the same for support and query
        assert labels[:, 0].sort().values.tolist() == list(range(10))
        for row, label in zip(task.flatten().tolist(), labels.flatten().tolist(), strict=True):
            given.setdefault(row, set()).add(label)
    assert max(len(labels) for labels in given.values()) > 3  # the same image, contradicting labels
    assert episode.support.y.shape == (30, 50) and data.classes == 10


def test_errors_and_measures_by_hand():
    scores, y = torch.tensor([[[0.0, 0.0], [log(3), 0.0]]]), torch.tensor([[0, 1]])
    # p = 1/2 for the first; the second has p(0) = 3/4, p(1) = 1/4
    assert torch.allclose(cross_entropy(scores, y), torch.tensor([[log(2), log(4)]]))
    assert right(scores, y).tolist() == [[1.0, 0.0]]
    assert squared_error(torch.tensor([[[3.0]]]), torch.tensor([[[1.0]]])).tolist() == [[4.0]]


def test_bad_settings_say_what_to_do():
    with pytest.raises(ClkitError, match="Did you mean sinusoids"):
        distribution("sinusoid")
    with pytest.raises(ClkitError, match="shots must be greater than zero"):
        Sinusoids(shots=0)
    with pytest.raises(ClkitError, match="queries must be greater than zero"):
        LabelSwap(queries=0)
    with pytest.raises(ClkitError, match="one class has only 16 validation images: lower shots"):
        LabelSwap(shots=10, queries=7)
