"""The projection that the page computes while the reader drags, against the one that trains."""

import math
import random

import pytest
import torch

from clkit.gradient.agem import project


def settings(seed):
    """A gradient and a reference of 2 to 5 numbers."""
    chance = random.Random(seed)
    width = 2 + seed % 4
    g, r = ([chance.uniform(-3, 3) for _ in range(width)] for _ in range(2))
    return {"g": g, "r": r, "lr": chance.uniform(0.01, 1)}


def test_it_agrees_with_the_package_on_twenty_random_settings(javascript):
    cases = [settings(seed) for seed in range(20)]
    conflicts = 0
    for case, found in zip(cases, javascript("projection", cases), strict=True):
        g, r = (torch.tensor([case[name]], dtype=torch.float64) for name in ("g", "r"))
        z = g.clone()
        project([z], [r])
        conflicts += not torch.equal(z, g)
        cosine = torch.cosine_similarity(g, r).item()
        assert found["projected"] == pytest.approx(z[0].tolist(), abs=1e-6)
        assert found["angle"] == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-6)
        for name, direction in (("old", r), ("fresh", g)):
            changes = [-case["lr"] * (step * direction).sum().item() for step in (g, z)]
            assert found[name] == pytest.approx(changes, abs=1e-6)
    assert 5 < conflicts < 15


def test_numbers_by_hand(javascript):
    # g = (1, -2), r = (0, 3): g.r = -6, r.r = 9, so g + 2/3 r = (1, 0). cos = -6 / (3 sqrt 5) = -2 / sqrt 5.
    # Step size 0.1: the old loss +0.6, then 0; the new one -0.1 x 5 = -0.5, then -0.1 x 1 = -0.1.
    (found,) = javascript("projection", [{"g": [1, -2], "r": [0, 3], "lr": 0.1}])
    assert found["projected"] == pytest.approx([1, 0])
    assert found["angle"] == pytest.approx(153.4349488)
    assert found["old"] == pytest.approx([0.6, 0]) and found["fresh"] == pytest.approx([-0.5, -0.1])


def test_agreement_and_a_vanishing_reference_change_nothing(javascript):
    cases = [{"g": [1, -2], "r": r, "lr": 0.1} for r in ([3, 0], [2, 1], [0, 0])]
    agree, right_angle, none = javascript("projection", cases)
    assert [found["projected"] for found in (agree, right_angle, none)] == [[1, -2]] * 3
    assert right_angle["angle"] == pytest.approx(90)
    assert none["angle"] is None
