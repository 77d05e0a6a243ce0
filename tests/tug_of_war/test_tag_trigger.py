"""Synaptic tags, their trigger and the late part that keeps: closed forms, and the claims of the page."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from clkit.errors import ClkitError
from clkit.tug_of_war.tag_trigger import (
    Stimulus,
    Synapses,
    consolidated,
    late_step,
    simulate,
    strong,
    trigger_step,
    weak,
)

MODEL, SEEDS = Synapses(), range(4)
AT = 3600.0  # of the weak stimulus, seconds


def after(model: Synapses, *stimuli: list[Stimulus], hours: float = 9):
    return simulate(model, [x for part in stimuli for x in part], hours, SEEDS)


def test_one_step_of_the_trigger_by_hand() -> None:
    """eq: tag-trigger. p = 0.5, 10 s: on 10 (0.5 / 360 - 0.5 / 3600) = 0.0125; off -10 0.5 / 3600 = -0.001389.

    61 tags switch it on, high and low ones alike; 60 do not.
    """
    many, few, none = np.ones((1, 61)), np.ones((1, 60)), np.zeros((1, 61))
    half = np.array([0.5])
    assert trigger_step(MODEL, many, none, half) == pytest.approx(0.5125)
    assert trigger_step(MODEL, none, many, half) == pytest.approx(0.5125)
    assert trigger_step(MODEL, few, 0 * few, half) == pytest.approx(0.5 - 0.5 / 360)


def test_one_step_of_the_late_part_by_hand() -> None:
    """eq: tag-late-part. z = 0.4: 0.4 0.6 (-0.1) = -0.024; a high tag adds 0.1 0.8 = 0.08, a low one takes it."""
    z, one, none, p = (np.full((1, 1), v) for v in (0.4, 1.0, 0.0, 0.8))
    steps = [
        late_step(MODEL, h, low, z, p[0]).item() - 0.4 for h, low in ((none, none), (one, none), (none, one))
    ]
    np.testing.assert_allclose(steps, np.array([-0.024, 0.056, -0.104]) * 10 / 360)


def test_a_tag_alone_needs_a_trigger_beyond_the_barrier() -> None:
    """The cubic is lowest at 1/2 - 1/(2 sqrt 3), there -1/(12 sqrt 3): gamma p must exceed that to leave z = 0."""
    barrier = 1 / (12 * sqrt(3)) / MODEL.gamma
    assert 0.48 < barrier < 0.482
    for factor, leaves in ((0.99, False), (1.01, True)):
        z, h = np.zeros((1, 1)), np.ones((1, 1))
        for _ in range(20_000):
            z = late_step(MODEL, h, 0 * h, z, np.array([factor * barrier]))
        assert (z.item() > MODEL.kappa) == leaves


def test_weak_stimulation_alone_decays_to_where_it_began() -> None:
    found = after(MODEL, weak(0, AT))
    assert (found.tags.max(1)[:, 0] > 15).all()  # it did set tags, and they weighed
    assert (found.weight[:, round(AT / MODEL.step), 0] > 1.08).all()
    assert (found.trigger == 0).all()
    np.testing.assert_allclose(found.weight[:, -1], 1, atol=0.01)
    assert (consolidated(found, MODEL, 0) == 0).all()


def test_strong_stimulation_of_others_within_the_life_of_the_tags_consolidates_the_weak_ones() -> None:
    near = consolidated(after(MODEL, weak(0, AT), strong(1, AT + 600)), MODEL, 0)
    late = consolidated(after(MODEL, weak(0, AT), strong(1, AT + 4 * 3600)), MODEL, 0)
    assert (near > 0).all() and near.mean() > 0.05
    assert late.mean() < 0.02
    untouched = consolidated(after(MODEL, strong(1, AT)), MODEL, 0)
    assert (untouched == 0).all()  # what is not tagged is not kept: the trigger alone writes nothing


def test_without_reaching_the_threshold_nothing_is_kept() -> None:
    deaf = replace(MODEL, threshold=200.0)
    found = after(deaf, weak(0, AT), strong(1, AT))
    assert (found.trigger == 0).all()
    np.testing.assert_array_equal(found.begun, found.late)


def test_without_gamma_no_synapse_changes_its_basin() -> None:
    found = after(replace(MODEL, gamma=0.0), weak(0, AT), strong(1, AT))
    assert (found.trigger.max(1) > 0.5).all()
    np.testing.assert_array_equal(found.begun, found.late)


def test_without_tags_the_trigger_stays_at_0_for_ever() -> None:
    found = after(MODEL, [Stimulus(AT, way, 0.0) for way in (0, 1)])
    assert (found.tags == 0).all() and (found.trigger == 0).all() and (found.weight == 1).all()


def test_low_tags_pull_synapses_down() -> None:
    """Depression, consolidated: synapses that began at 1 end at 0."""
    found = after(MODEL, [Stimulus(AT + 600 * n, 1, 0.8, high=False) for n in range(3)])
    assert ((found.begun > 0.5) & (found.late < 0.5)).sum(1).min() > 10
    assert (consolidated(found, MODEL, 1) == 0).all()


def test_tags_are_lost_at_their_rate() -> None:
    """10,000 synapses: after n steps a share (1 - 10/3600)^n of the tags is left, e^-1 in an hour."""
    many = replace(MODEL, pathway=10_000, threshold=1e9)
    found = after(many, [Stimulus(0, 0, 1.0)], hours=1)
    np.testing.assert_allclose(found.tags[:, -1, 0] / 10_000, (1 - 10 / 3600) ** 360, atol=0.015)


def test_a_replica_depends_on_its_own_seed_alone() -> None:
    stimuli = weak(0, AT) + strong(1, AT)
    all_of_them, one = (simulate(MODEL, stimuli, 3, seeds) for seeds in ((0, 5, 2), (5,)))
    np.testing.assert_array_equal(all_of_them.late[1], one.late[0])


def test_a_stimulus_outside_the_time_simulated_is_refused() -> None:
    with pytest.raises(ClkitError, match="within the 1 hours"):
        simulate(MODEL, weak(0, 4000), 1, SEEDS)
