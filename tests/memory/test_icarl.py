"""iCaRL: herding, the loss with its two kinds of targets, the lists, and the nearest mean."""

from dataclasses import replace
from math import log

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from clkit.errors import ClkitError, UnfitError
from clkit.examples import Batch, Examples, Task
from clkit.loop import run
from clkit.memory.icarl import ICaRL, herding, random_choice
from clkit.nets import Build, Custom, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.streams import Rotated, Split
from clkit.training import Training

SMALL = Training(epochs=2, batch=8, network=Mlp(hidden=(12,)))
DRAWS = Draws((0, 1))


class Look(nn.Module):
    """A network that shows its inputs: as features and as scores."""

    def features(self, x):
        return x

    def forward(self, x):
        return x


class Say(nn.Module):
    """A network that always answers the same."""

    def __init__(self, scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, x):
        return self.scores.expand(*x.shape[:2], -1)


@pytest.fixture
def unit():
    """Features of length 1, 2 replicas of 30 examples in 5 dimensions."""
    return normalize(DRAWS.normal("noise", (30, 5)).double(), dim=-1)


@pytest.fixture
def method():
    """A method on four classes in two tasks that has seen the first, with a network that shows its inputs."""
    rule = scenario("class", (2, 2))
    made = ICaRL(capacity=4)
    made.start(Build(Mlp(hidden=(2,)), (2,), rule, DRAWS), DRAWS, rule)
    made.net, made.old, made.seen = Look(), 0, 2
    return made


def everyone(features):
    return torch.ones(features.shape[:2], dtype=torch.bool)


def errors(features, rows):
    """k |mean of all - mean of the first k picks|, [R, k]."""
    picked = features.gather(1, rows[..., None].expand(-1, -1, features.shape[-1])).cumsum(1)
    k = torch.arange(1, rows.shape[1] + 1)[:, None]
    return (k * features.mean(1, keepdim=True) - picked).norm(dim=-1)


def test_herding_by_hand():
    """eq: herding."""
    # mean of (1,0), (0,1), (.8,.6), (.6,.8), (0,1): (.48, .68). Nearest: (.6,.8), at distance .17.
    # then (.8,.6): mean of both (.7,.7), distance .22; with (0,1): (.3,.9), .28; with (1,0): (.8,.4), .43
    # then one (0,1): the three make (1.4, 2.4) / 3 = (.47, .8), distance .12; (1,0): (.8, .47), .39
    features = torch.tensor([[[1, 0], [0, 1], [0.8, 0.6], [0.6, 0.8], [0, 1]]])
    rows = herding(features, everyone(features), 3, DRAWS, 0)[0].tolist()
    assert rows[:2] == [3, 2] and rows[2] in (1, 4)


def test_herding_is_the_greedy_rule_on_the_class_only(unit):
    candidates = torch.arange(30) % torch.tensor([[2], [3]]) == 0  # 15 and 10 of the 30
    rows = herding(unit, candidates, 8, DRAWS, 0)
    for r in range(2):
        left, total, mean = (
            candidates[r].nonzero().flatten().tolist(),
            torch.zeros(5).double(),
            unit[r][candidates[r]].mean(0),
        )
        for k in range(1, 9):
            best = min(left, key=lambda i: float((mean - (unit[r, i] + total) / k).norm()))
            assert rows[r, k - 1] == best
            left.remove(best)
            total += unit[r, best]


def test_herding_keeps_what_holds_exactly(unit):
    rows = herding(unit, everyone(unit), 30, DRAWS, 0)
    assert torch.equal(rows[:, :7], herding(unit, everyone(unit), 7, DRAWS, 0))  # a prefix
    assert rows.sort(dim=1).values.tolist() == [list(range(30))] * 2  # none twice
    nearest = (unit - unit.mean(1, keepdim=True)).norm(dim=-1).argmin(1)
    assert torch.equal(rows[:, 0], nearest)
    error = errors(unit, rows)
    assert error[:, -1].tolist() == pytest.approx([0, 0], abs=1e-12)  # all of them: the mean itself
    assert float(error.max()) < 1.5  # stays bounded; at random it grows like the square root of k


def test_herding_with_fewer_candidates_than_asked_for(unit):
    candidates = torch.arange(30) < torch.tensor([[2], [12]])
    rows = herding(unit, candidates, 6, DRAWS, 0)
    assert rows.shape == (2, 6)
    assert set(rows[0, :2].tolist()) == {0, 1}
    assert torch.equal(rows[1], herding(unit[1:], candidates[1:], 6, DRAWS, 0)[0])
    assert herding(unit, everyone(unit), 99, DRAWS, 0).shape == (2, 30)


def test_random_choice_takes_candidates_once_and_by_the_seed(unit):
    candidates = torch.arange(30) % 2 == torch.tensor([[0], [1]])
    rows = random_choice(unit, candidates, 15, DRAWS, 3)
    assert rows.sort(dim=1).values.tolist() == [list(range(0, 30, 2)), list(range(1, 30, 2))]
    assert not torch.equal(rows, random_choice(unit, candidates, 15, DRAWS, 4))
    alone = random_choice(unit[1:, :20], candidates[1:, :20], 10, Draws((1,)), 3)
    assert set(alone[0].tolist()) == set(range(1, 20, 2))


def test_old_outputs_learn_from_the_old_network_and_new_ones_from_the_label(method):
    """eq: icarl-loss."""
    # s(f) = .75, .5, .25 for three outputs, two of them old; s(f*) = .25, .75 for these, whatever the label:
    # -(1/4 log 3/4 + 3/4 log 1/4) + log 2. New output: -log 1/4 for label 2, -log 3/4 for the exemplar's 0
    method.old, method.seen = 2, 3
    method.previous = Say([-log(3), log(3), 5.0])
    x = torch.tensor([log(3), 0.0, -log(3), 9.0]).expand(2, 2, 4)
    y = torch.tensor([[2, 0]] * 2)
    batch = Batch(x, y, torch.ones(2, 2), None, torch.zeros(2, 2), 2)
    old = -(log(3 / 4) + 3 * log(1 / 4)) / 4 + log(2)
    assert method.loss(batch).tolist() == pytest.approx([old + (log(4) + log(4 / 3)) / 2] * 2)
    # without distillation every output has its label: 1[y = c]; the exemplar of class 0 says 1, 0, 0
    method.previous = None
    labels = [log(4) + log(2) + log(4), log(4 / 3) + log(2) + log(4 / 3)]
    assert method.loss(batch).tolist() == pytest.approx([sum(labels) / 2] * 2)
    weighted = replace(batch, weight=torch.tensor([[3.0, 1.0]] * 2))
    assert method.loss(weighted).tolist() == pytest.approx([(3 * labels[0] + labels[1]) / 4] * 2)


def test_the_first_gradient_through_old_outputs_is_zero():
    stream = Split(limit=(20,) * 5, tried=1)
    method = ICaRL()
    run(method, stream, SMALL, seeds=(0, 1), progress=False)
    data, rule = replace(stream, tried=2).tasks(method.draws)[1], stream.rule()
    task = Task(1, rule.own(1), data.train, data.validation, 1, 8)
    examples = data.train + method.begin_task(task)
    batch = next(examples.batches(torch.arange(40).expand(2, -1), 40, rule, 1))
    assert (batch.y < 2).any() and (batch.y >= 2).any()  # exemplars and new ones
    method.net.zero_grad()
    method.loss(batch).sum().backward()
    gradient = method.net.head.linear.weight.grad
    assert float(gradient[..., :2].abs().max()) == 0.0  # s(f) = s(f*), to the bit
    assert float(gradient[..., 2:4].abs().max()) > 0
    assert all(p.grad is None for p in method.previous.parameters())


def test_exemplars_join_the_next_training_set_as_copies():
    stream = Split(limit=(20,) * 5, tried=2)
    method = ICaRL(capacity=20)
    run(method, replace(stream, tried=1), SMALL, seeds=(4, 5), progress=False)
    rule, (first, second) = stream.rule(), stream.tasks(method.draws)
    joined = method.begin_task(Task(1, rule.own(1), second.train, second.validation, 1, 8))
    counts = torch.stack(method.counts, dim=1)
    assert joined.sizes == counts.sum(1).tolist()
    x, y, _ = joined.take(torch.arange(max(joined.sizes)).expand(2, -1).clamp(max=min(joined.sizes) - 1))
    images, labels, _ = first.train.take(torch.arange(20).expand(2, -1))
    for r in range(2):
        assert sorted(set(y[r].tolist())) == [0, 1]
        for image, label in zip(x[r], y[r], strict=True):
            same = (images[r] == image).flatten(1).all(1)
            assert same.any() and labels[r][same][0] == label  # of the task, with its label
    x.fill_(7)
    assert float(method.exemplars[0].max()) < 7


def test_lists_shrink_from_the_end_and_new_ones_are_herded_on_the_new_features():
    stream = Split(limit=(40,) * 5, tried=2)
    method, seen = ICaRL(capacity=20), []

    class Watching(ICaRL):
        def end_task(self, task):
            super().end_task(task)
            seen.append([x.clone() for x in self.exemplars])
            x, y, _ = next(task.train.chunks(99))
            psi = normalize(self.net.features(x), dim=-1)
            for c in task.classes:
                rows = herding(
                    psi, (y == c) & (task.train.parts[0].index >= 0), self.capacity // self.seen, DRAWS, c
                )
                assert torch.equal(self.exemplars[c], task.train.take(rows)[0])

    method = Watching(capacity=20)
    run(method, stream, SMALL, seeds=(0, 1), progress=False)
    first, second = seen
    assert [x.shape[1] for x in first] == [10, 10] and [x.shape[1] for x in second] == [5] * 4
    for c in range(2):
        assert torch.equal(second[c], first[c][:, :5])
    assert sum(x.shape[1] for x in second) <= 20


def test_the_nearest_mean_by_hand(method):
    """eq: nearest-mean."""
    # class 0: (1, 0) and (0, 2) have directions (1, 0), (0, 1), mean (.5, .5), its direction (.71, .71);
    # class 1: (-1, 0). x: (.71, .71), squared distances 0 (not the .09 to (.5, .5)) and 2 + 2 * .71
    method.exemplars = [torch.tensor([[[1.0, 0], [0, 2]]] * 2), torch.tensor([[[-3.0, 0], [9, 9]]] * 2)]
    method.counts = [torch.tensor([2, 2]), torch.tensor([1, 1])]  # (9, 9) fills a gap and counts for nothing
    scores = method.predict(torch.tensor([[[3.0, 3.0]]] * 2))
    assert scores[0, 0, :2].tolist() == pytest.approx([0, -(2 + 2**0.5)], abs=1e-6)


def test_with_one_exemplar_each_it_is_the_nearest_neighbour_in_the_present_features(method):
    rule = scenario("class", (3, 3))
    method.capacity = 6
    method.start(Build(Mlp(hidden=(32,)), (5,), rule, DRAWS), DRAWS, rule)
    method.exemplars = [DRAWS.normal("noise", (1, 5), c) for c in range(6)]
    method.counts = [torch.ones(2, dtype=torch.int64)] * 6
    x = DRAWS.normal("noise", (40, 5), 9)

    def neighbour():
        psi, kept = (
            normalize(method.net.features(z), dim=-1) for z in (x, torch.cat(method.exemplars, dim=1))
        )
        return (psi[:, :, None] - kept[:, None]).norm(dim=-1).argmin(-1)

    with torch.no_grad():
        before = method.predict(x).argmax(-1)
        assert torch.equal(before, neighbour())
        method.net.body[0].weight.mul_(4.0)  # longer features, the same directions (biases are zero)
        assert torch.equal(method.predict(x).argmax(-1), before)
        method.net.body[0].weight.copy_(DRAWS.normal("noise", (5, 32), 10))  # other features: other means
        assert torch.equal(method.predict(x).argmax(-1), neighbour())
        assert not torch.equal(neighbour(), before)


def test_a_class_without_exemplars_ranks_behind_all_others_by_its_output(method):
    method.exemplars, method.counts = (
        [torch.ones(2, 1, 2), torch.ones(2, 1, 2)],
        [torch.ones(2), torch.tensor([1, 0])],
    )
    scores = method.predict(torch.tensor([[[-1.0, -1.0, 3.0, 9.0][:2]]] * 2))
    assert scores.shape == (2, 1, 2) and bool(torch.isfinite(scores).all())
    assert scores[0, 0].tolist() == pytest.approx([-4, -4])  # opposite to both exemplars
    assert float(scores[1, 0, 1]) < -4  # the second replica has none of class 1


def test_classes_with_few_examples_keep_what_there_is():
    """Six examples in a task, in other proportions in every replica; ten places for a class."""
    stream = Split(limit=(6,) * 5)
    method = ICaRL(capacity=100)
    record = run(method, stream, SMALL, replicas=4, progress=False)
    counts = torch.stack(method.counts, dim=1)
    tasks = stream.tasks(method.draws)
    labels = torch.cat([task.train.parts[0].y for task in tasks], dim=1)  # [R, 30]
    assert torch.equal(counts, (labels[..., None] == torch.arange(10)).sum(1))
    assert not torch.equal(counts[0], counts[1])
    assert (record.accuracy[:, -1].mean(1) > 0.2).all()  # chance is 0.1
    assert method.begin_task(Task(5, range(10, 10), tasks[0].train, tasks[0].train, 1, 8)).sizes == [30] * 4


def test_without_exemplars_the_outputs_answer(method):
    x = torch.tensor([[[0.3, -0.2]]] * 2)
    assert torch.equal(method.predict(x), x)
    method.capacity = 0
    method.end_task(Task(0, range(2), Examples([]), Examples([]), 1, 8))
    assert method.exemplars == [] and method.previous is None


def test_bytes():
    # 64-12-10: 64 * 12 + 12 + 12 * 10 + 10 = 910 weights of 4 bytes. After t tasks 2 t classes, each with
    # m = 25 // 2 t exemplars of 64 floats and a count of 8 bytes
    record = run(ICaRL(capacity=25), Split(limit=(60,) * 5), SMALL, replicas=2, progress=False)
    examples = [2 * t * (25 // (2 * t) * 256 + 8) for t in range(1, 6)]
    assert record.bytes_examples == examples
    assert record.bytes_kept == [3640 + kept for kept in examples]


def test_bad_input_is_named():
    with pytest.raises(ClkitError, match="capacity"):
        ICaRL(capacity=-1)
    with pytest.raises(ClkitError, match="use 10 or more, or 0"):
        run(ICaRL(capacity=9), Split(), replicas=1, progress=False)
    with pytest.raises(ClkitError, match=r"use Mlp\(\) or Convnet\(\)"):
        network = Custom(module=lambda shape, width: nn.Sequential(nn.Flatten(), nn.Linear(64, width)))
        run(ICaRL(), Split(), Training(network=network), replicas=1, progress=False)
    with pytest.raises(UnfitError, match="icarl needs new classes.*use scenario"):
        run(ICaRL(), Rotated(), replicas=1, progress=False)
