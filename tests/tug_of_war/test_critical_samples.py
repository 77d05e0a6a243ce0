"""Critical samples: the search against closed forms for linear networks."""

from __future__ import annotations

import pytest
import torch

from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.tug_of_war.critical_samples import along_training, critical, margin


def network(classes: int, hidden: tuple[int, ...] = ()) -> tuple[torch.nn.Module, Draws]:
    rule, draws = scenario("domain", (classes,)), Draws((0, 1), dtype=torch.float64)
    return Build(Mlp(hidden=hidden), (5,), rule, draws)(), draws


def test_margin_by_hand() -> None:
    """eq: answer-margin. Scores 1, 4, 2.5 with the answer 1: 4 - 2.5. With the answer 0 it is negative, 1 - 4."""
    scores = torch.tensor([[[1.0, 4.0, 2.5], [1.0, 4.0, 2.5]]])
    assert margin(scores, torch.tensor([[1, 0]])).tolist() == [[1.5, -3.0]]


@pytest.mark.parametrize("starts", [1, 3])
def test_of_a_linear_network_with_two_outputs_it_finds_all_and_only_those(starts: int) -> None:
    """eq: critical-sample. Within r of x in every pixel the margin |w x + b| falls by at most r |w|_1.

    So another answer exists if and only if |w x + b| < r |w|_1, with w the difference of both columns. A walk along
    the gradient itself, or one limited in length instead of pixel by pixel, falls short of it; a walk that may
    leave the neighbourhood finds too many.
    """
    net, draws = network(2)
    x, radius = draws.normal("x", (400, 5)), 0.3
    weight, bias = net.parameters()
    w, b = (p.detach()[..., 0] - p.detach()[..., 1] for p in (weight, bias))
    distance = (torch.einsum("rnd,rd->rn", x, w) + b).abs() / w.abs().sum(1)[:, None]
    found = critical(net, x, draws, radius=radius, starts=starts)
    assert torch.equal(found, distance < radius)
    assert 0.1 < found.double().mean() < 0.9


def test_of_a_linear_network_with_more_outputs_it_finds_none_that_does_not_exist() -> None:
    """One exists if for some other output j the difference of the scores is below r |w_answer - w_j|_1."""
    net, draws = network(4)
    x, radius = draws.normal("x", (400, 5)), 0.2
    weight, _ = (p.detach() for p in net.parameters())  # [R, 5, 4]
    scores = net(x).detach()
    answer = scores.argmax(2)
    own = weight.transpose(1, 2).gather(1, answer[..., None].expand(-1, -1, 5))  # [R, N, 5]
    reach = radius * (own[:, :, None] - weight.transpose(1, 2)[:, None]).abs().sum(3)  # [R, N, 4]
    gaps = scores.gather(2, answer[..., None]) - scores
    exists = ((gaps < reach) & (gaps > 0)).any(2)
    found = critical(net, x, draws, radius=radius)
    assert not (found & ~exists).any()
    assert found.sum() > 0.95 * exists.sum()


def test_a_larger_neighbourhood_has_more_and_none_has_none() -> None:
    net, draws = network(3, (8,))
    x = draws.normal("x", (200, 5))
    shares = [critical(net, x, draws, radius=r).double().mean() for r in (0.0, 0.05, 0.2, 2.0)]
    assert shares[0] == 0 and shares[1] < shares[2] < shares[3]
    assert all(p.grad is None for p in net.parameters()) and not x.requires_grad


def test_more_starts_lose_nothing() -> None:
    net, draws = network(3, (8,))
    x = draws.normal("x", (200, 5))
    one, three = (critical(net, x, draws, radius=0.2, starts=n) for n in (1, 3))
    assert not (one & ~three).any()


def test_along_training_it_keeps_the_asked_looks() -> None:
    found = along_training(2, looks=(0, 100))
    assert found["updates"] == [0, 100]
    for name in ("shuffled", "random labels"):
        for key in ("critical", "right"):
            assert len(found[name][key]["mean"]) == 2
            assert all(0 <= v <= 1 for v in found[name][key]["mean"])
    assert found["shuffled"]["right"]["mean"][1] > 0.7 > found["random labels"]["right"]["mean"][1]


def test_a_replica_finds_the_same_in_any_company() -> None:
    rule = scenario("domain", (3,))
    alone, both = Draws((1,), dtype=torch.float64), Draws((0, 1), dtype=torch.float64)
    found = []
    for draws in (alone, both):
        net = Build(Mlp(hidden=(8,)), (5,), rule, draws)()
        found.append(critical(net, draws.normal("x", (100, 5)), draws, radius=0.2)[-1])
    assert torch.equal(*found)
