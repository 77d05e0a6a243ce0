"""Windows on an order of the examples, noisy images, and the perceptron's toy."""

import numpy as np
import torch
from scipy.stats import chisquare

from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario
from clkit.tug_of_war import curriculum
from clkit.tug_of_war.curriculum import (
    Window,
    batches,
    entropy,
    growing,
    in_turn,
    is_curriculum,
    joining,
    noisy,
    perceptron,
    toy,
    weights,
    whole,
)


def test_the_pace_by_hand():
    """eq: curriculum-pace"""
    low, high = growing(5, start=0.2)
    assert (low == 0).all() and np.allclose(high, [0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_weights_by_hand():
    """eq: curriculum-weight"""
    assert (weights(Window(np.array([0, 0, 0.5]), np.array([0.25, 1, 0.75])), 4) == [
        [1, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 0],
    ]).all()  # fmt: skip


def test_the_entropy_by_hand():
    """eq: curriculum-entropy"""
    assert np.allclose(entropy(np.eye(4)[:1]), 0), "one example: no choice"
    assert np.allclose(entropy(np.array([[1.0, 1, 1, 1, 0], [2, 1, 1, 0, 0]])), [np.log(4), 1.5 * np.log(2)])


def test_entropy_and_weights_of_a_curriculum_never_fall():
    W = weights(growing(40), 200)
    assert (np.diff(W, axis=0) >= 0).all() and (np.diff(entropy(W)) >= 0).all()
    assert (W[-1] == 1).all() and np.isclose(entropy(W)[-1], np.log(200)), "in the end all are alike"
    assert (
        is_curriculum(W) and is_curriculum(weights(whole(9), 20)) and is_curriculum(weights(joining(40), 200))
    )


def test_all_from_the_start_is_the_border_case():
    """The paper's entropy must rise: it does from stage to stage of a pool, and never where all are there at once."""
    assert (np.diff(entropy(weights(growing(40), 200))) > 0).all()
    stages = entropy(weights(joining(40), 200))[::4]
    assert (np.diff(stages) > 0).all() and len(stages) == 10
    assert np.ptp(entropy(weights(whole(9), 20))) == 0


def test_examples_that_stay_away_again_are_no_curriculum():
    W = weights(in_turn(40, 4), 200)
    assert np.allclose(entropy(W), np.log(50)), "the entropy alone would not show it"
    assert not is_curriculum(W)
    assert not is_curriculum(W[::-1][:11] * 0 + np.linspace(1, 0.5, 11)[:, None]), "all weights fall alike"
    assert not is_curriculum(np.array([[1.0, 1.0], [1.0, 9.0]])), "no weight falls, but the entropy does"


def test_batches_come_from_the_window_of_the_order():
    order = torch.stack([torch.arange(100), torch.arange(99, -1, -1)])
    window = Window(np.array([0, 0.5, 0.9]), np.array([0.1, 0.75, 1.0]))
    found = batches(order, window, Draws((0, 1)), 500)
    assert found.shape == (2, 3, 500)
    for step, (low, high) in enumerate([(0, 9), (50, 74), (90, 99)]):
        assert [found[0, step].min(), found[0, step].max()] == [low, high]
        assert [found[1, step].min(), found[1, step].max()] == [99 - high, 99 - low]


def test_in_the_end_all_examples_are_drawn_alike():
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))[None]
    window = Window(*(np.full(200, growing(7)[i][-1]) for i in (0, 1)))
    counts = batches(order, window, Draws((3,)), 32).flatten().bincount(minlength=50)
    assert counts.sum() == 200 * 32 and chisquare(counts).pvalue > 0.01


def test_all_orders_train_on_as_many_examples():
    order = torch.arange(60)[None]
    made = [batches(order, make(120), Draws((0,)), 32) for make in (growing, whole, in_turn, joining)]
    assert {part.shape for part in made} == {(1, 120, 32)}


def test_in_turn_every_block_gets_its_share():
    found = batches(torch.arange(100)[None], in_turn(50, 10), Draws((0,)), 32)
    assert (found[0] // 10 == torch.arange(50)[:, None] // 5).all()


def test_noise_is_as_strong_as_the_level_says():
    draws = Draws((0, 1))
    clean, dirty = (noisy("digits", "train", draws, most=most) for most in (0.0, 0.8))
    assert (clean.x[0] == clean.x[1]).all(), "without noise all replicas see the same images"
    spread = (dirty.x - clean.x).std(2) / (0.8 * dirty.level)
    assert abs(spread.mean() - 1) < 0.01 and (spread > 0.5).all()
    assert dirty.level.min() < 0.01 and dirty.level.max() > 0.99
    assert (noisy("digits", "train", draws).x == dirty.x).all(), "drawn once: an example never changes"


def test_an_order_by_class():
    draws = Draws((0, 1))
    train = noisy("digits", "train", draws)
    order = curriculum.by_class(train, draws)
    assert (order.sort(dim=1)[0] == torch.arange(len(train.y))).all()
    runs = [train.y[row].unique_consecutive() for row in order]
    assert [len(run) for run in runs] == [10, 10] and (runs[0] != runs[1]).any()


def test_training_is_plain_sgd_on_the_mean_loss():
    draws = Draws((4,), dtype=torch.float32)
    examples, test = noisy("digits", "train", draws, limit=64), noisy("digits", "test", draws)
    order, window = torch.arange(64)[None], whole(3)
    found = curriculum.train(examples, test, order, window, draws, every=1)
    net = Build(Mlp(), (64,), scenario("domain", (10,)), draws)()
    for index in batches(order, window, draws, 32)[0]:
        loss = torch.nn.functional.cross_entropy(net(examples.x[:, index])[0], examples.y[index])
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for weight, grad in zip(net.parameters(), grads, strict=True):
                weight -= 0.05 * grad
    right = (net(test.x)[0].argmax(-1) == test.y).float().mean()
    assert found.shape == (1, 4) and abs(found[0, -1] - right) < 0.005
    assert abs(found[0, 0] - right) > 0.01, "three steps change something"


def test_a_replica_depends_on_its_own_seed():
    both, alone = (curriculum.by_difficulty(seeds, 50) for seeds in ((0, 1), (1,)))
    for name, values in alone.items():
        assert np.allclose(both[name][1], values[0], atol=0.5), name
    assert len({values[0, -1] for values in both.values()}) > 2, "the orders differ"


def test_what_is_stored_comes_out_again():
    stored = curriculum.stored()
    again = curriculum.by_difficulty(range(2))
    assert stored.keys() == again.keys() and {v.shape for v in stored.values()} == {(40, 13)}
    for name, values in again.items():
        assert np.abs(stored[name][:2] - values).mean() < 1, name  # digits of a run differ between processors


def test_it_stores_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(
        curriculum, "by_difficulty", lambda seeds: {"easy first": np.full((len(seeds), 2), 50.0)}
    )
    curriculum.store(3, tmp_path)
    assert (curriculum.stored(tmp_path)["easy first"] == np.full((3, 2), 50.0)).all()


def test_the_perceptron_by_hand():
    """eq: perceptron"""
    # Lowest score first: (0, 1) with label -1 is on the border, so w = (0, -1). Then (1, 1) with label 1 gets -1:
    # w = (1, 0). Then (1, -3) with label 1 gets 1, which is right.
    x, y = np.array([[[1.0, 1], [0, 1], [1, -3]]]), np.array([[1.0, -1, 1]])
    assert (perceptron(x, y, np.array([[2.0, 1, 3]])) == [[1, 0]]).all()
    # The other way round: (1, -3) is on the border, w = (1, -3); (1, 1) gets -2: w = (2, -2); (0, 1) is right.
    assert (perceptron(x, y, np.array([[-2.0, -1, -3]])) == [[2, -2]]).all()


def test_a_toy_depends_on_the_inputs_that_matter():
    made = toy(range(3), 500, relevant=4)
    test = toy(range(3), 500, "test", relevant=4)
    assert (made.irrelevant == (made.x[:, :, 4:] != 0).sum(2)).all() and set(made.irrelevant[0]) == set(
        range(5)
    )
    assert (np.abs(made.y) == 1).all() and (made.margin <= 0).all()
    # One rule makes all labels: label times distance is linear in the inputs that matter, for train and test.
    rule = np.linalg.lstsq(made.x[0], -made.y[0] * made.margin[0])[0]
    assert np.allclose(rule[4:], 0) and np.isclose(np.linalg.norm(rule), 1)
    assert (np.sign(test.x[0] @ rule) == test.y[0]).all()
    assert (curriculum.toy_error(rule[None], curriculum.Toy(*(part[:1] for part in test))) == 0).all()
    assert (curriculum.toy_error(-rule[None], curriculum.Toy(*(part[:1] for part in test))) == 1).all()
