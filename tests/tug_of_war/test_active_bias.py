"""Active bias: the history, its scores, and the weights made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clkit.loop import run
from clkit.method import Method
from clkit.training import Training
from clkit.tug_of_war.active_bias import (
    ActiveBias,
    History,
    _rank_correlation,
    closeness,
    deviation,
    easy,
    emphasis,
    equal,
    hard,
    weights,
)
from clkit.tug_of_war.memorization import Shuffled


def history(rows: list[list[float]]) -> History:
    """One replica; a row of visits for each example, as many for each."""
    found = History.empty(1, len(rows))
    for visit in torch.tensor(rows).T:
        found.add(torch.arange(len(rows))[None], visit[None])
    return found


def test_history_by_hand() -> None:
    """0.2, 0.4, 0.9: mean 0.5, variance (0.09 + 0.01 + 0.16) / 3."""
    found = history([[0.2, 0.4, 0.9], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(found.mean, torch.tensor([[0.5, 0.5]]).double())
    torch.testing.assert_close(found.variance, torch.tensor([[0.26 / 3, 0.0]]).double(), atol=1e-7, rtol=0)


def test_an_example_that_comes_twice_in_a_batch_counts_twice() -> None:
    """Where a pass ends, a batch may hold it twice; assignment in place of a sum would lose one."""
    found = History.empty(1, 3)
    found.add(torch.tensor([[2, 0, 2]]), torch.tensor([[0.1, 0.3, 0.7]]))
    assert found.count.tolist() == [[1, 0, 2]]
    assert found.mean[0].tolist() == pytest.approx([0.3, 0, 0.4])


def test_scores_by_hand() -> None:
    """eq: prediction-variance, eq: threshold-closeness. Visits 0.2 and 0.6: mean 0.4, v = 0.04, n = 2.

    sqrt(0.04 + 0.04^2 / 1) = 0.20396; 0.4 * 0.6 = 0.24; 1 - 0.4 = 0.6; easy 0.4.
    """
    found = history([[0.2, 0.6]])
    assert float(deviation(found)) == pytest.approx(0.0416**0.5, rel=1e-6)
    assert float(closeness(found)) == pytest.approx(0.24)
    assert float(hard(found)) == pytest.approx(0.6)
    assert float(easy(found)) == pytest.approx(0.4)


def test_rank_correlation_by_hand() -> None:
    """Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6, whatever the values. The values themselves give 0.97.

    Second replica: rising against falling, -1.
    """
    a = torch.tensor([[1.0, 2.0, 3.0, 50.0], [1.0, 2.0, 3.0, 4.0]])
    b = torch.tensor([[2.0, 1.0, 50.0, 49.0], [4.0, 3.0, 0.2, 0.1]])
    assert _rank_correlation(a, b).tolist() == pytest.approx([0.6, -1.0])


def test_weights_have_mean_one_and_starve_nobody() -> None:
    """eq: active-weights. Scores 0, 1, 2: mean 1, smoothed 1, 2, 3, divided by 2. A score of 0 weighs one half."""
    torch.testing.assert_close(weights(torch.tensor([[0.0, 1.0, 2.0]])), torch.tensor([[0.5, 1.0, 1.5]]))
    many = weights(torch.rand(4, 600, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) ** 4)
    torch.testing.assert_close(many.mean(1), torch.ones(4).double(), rtol=1e-12, atol=0)
    assert float(many.min()) >= 0.5


def test_a_constant_history_gives_equal_weights() -> None:
    """Also where no prediction has ever varied: 0 / 0 would be NaN."""
    constant = history([[0.3, 0.3]] * 5)
    constant.squares = constant.count * constant.mean.square()  # exactly constant, without rounding
    for score in (deviation, closeness, hard, easy, equal):
        torch.testing.assert_close(weights(score(constant)), torch.ones(1, 5).double())


def test_closeness_is_the_fisher_information_of_a_binary_logistic_output() -> None:
    """E_y (d log p(y | z) / dz)^2 = p (1 - p), by autograd over both answers."""
    for z in (-2.0, 0.3, 1.7):
        score = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        information = 0.0
        for sign in (1, -1):
            log_p = torch.nn.functional.logsigmoid(sign * score)
            (slope,) = torch.autograd.grad(log_p, score)
            information += float(log_p.detach().exp() * slope**2)
        p = float(torch.sigmoid(torch.tensor(z, dtype=torch.float64)))
        visited = History(*(torch.tensor([[v]], dtype=torch.float64) for v in (1.0, p, p * p)))
        assert float(closeness(visited)) == pytest.approx(information, rel=1e-12)


def test_equal_weights_are_plain_training() -> None:
    """eq: active-loss, with weights of 1: and other weights are not."""
    training, stream = Training(updates=(40,)), Shuffled(limit=(100,))
    nets = {}
    for method in (Method(), ActiveBias(score=equal), ActiveBias(score=hard)):
        run(method, stream, training, replicas=2, progress=False)
        nets[str(method.settings())] = method.parameters()[0].detach()
    plain, same, other = nets.values()
    torch.testing.assert_close(same, plain)
    assert float((other - plain).abs().max()) > 1e-4


def test_it_remembers_every_visit_and_what_was_said() -> None:
    """40 updates of 32: 1280 visits of 100 examples, 12 or 13 each; probabilities between 0 and 1."""
    method = ActiveBias(score=deviation)
    run(method, Shuffled(limit=(100,)), Training(updates=(40,)), replicas=2, progress=False)
    assert method.history.count.sum(1).tolist() == [1280.0] * 2
    assert set(method.history.count.unique().tolist()) == {12.0, 13.0}
    assert 0.1 < float(method.history.mean.mean()) < 1


def test_wrong_labels_weigh_little_with_the_easy_and_much_with_the_hard() -> None:
    """The network does not believe them: 1 - p is large. Where all count alike they weigh 1."""
    found = emphasis(2, epochs=6)
    weight = {
        name: found[f"active bias, a fifth random labels, weight of the wrong labels: {name}"]
        for name in ("plain", "easy", "hard", "variance")
    }
    np.testing.assert_allclose(weight["plain"], 1)
    assert (weight["easy"] < 0.8).all() and (weight["variance"] < 0.8).all() and (weight["hard"] > 1.1).all()


def test_another_replica_count_gives_the_same_replicas() -> None:
    two, three = (emphasis(n, epochs=1) for n in (2, 3))
    for name, found in two.items():
        np.testing.assert_array_equal(found, three[name][:2])
