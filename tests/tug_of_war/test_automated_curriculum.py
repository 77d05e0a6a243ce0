"""The bandit's policy, reward and step, and the menu of regressions that it teaches."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from clkit.errors import ClkitError
from clkit.tug_of_war import automated_curriculum as automated
from clkit.tug_of_war.automated_curriculum import Bandit, Menu, Oracle, Uniform, exp3s, policy, rescale, teach

SMALL = Menu(inputs=(1, 4), lr=0.05)


@dataclass
class Spy(Uniform):
    """Teaches one task only, and keeps what it hears."""

    task: int = 0
    heard: list = field(default_factory=list)

    def policy(self, left):
        return np.eye(left.shape[1])[np.full(len(left), self.task)]

    def learn(self, pi, action, gains):
        self.heard.append((pi, action, gains))


def fresh(gains):
    return gains.fresh


def test_the_policy_by_hand():
    """eq: bandit-policy"""
    # weights ln 3 and 0: softmax 3/4 and 1/4. With epsilon 0.2: 0.8 * 3/4 + 0.1 and 0.8 * 1/4 + 0.1.
    assert np.allclose(policy(np.log([3.0, 1.0]), 0.2), [0.7, 0.3])


def test_the_policy_is_a_distribution_with_a_floor_at_any_weights():
    weights = np.random.default_rng(0).normal(size=(50, 7)) * np.logspace(-1, 4, 50)[:, None]
    pi = policy(weights, 0.05)
    assert np.allclose(pi.sum(1), 1) and (pi >= 0.05 / 7 - 1e-15).all()
    assert np.allclose(policy(weights + 100, 0.05), pi), "only differences of weights count"
    assert np.isfinite(policy(np.array([2000.0, -2000.0]), 0.1)).all(), "e^2000 is more than a float holds"


def test_the_reward_by_hand():
    """eq: bandit-reward"""
    history = np.tile(np.arange(11.0), (5, 1))  # 0 to 10: 20 % at 2, 80 % at 8
    assert np.allclose(rescale(np.array([5.0, 8, 20, 2, 3.5]), history), [0, 1, 1, -1, -0.5])


def test_the_reward_does_not_depend_on_the_unit_of_the_signal():
    rng = np.random.default_rng(0)
    signal, history = rng.normal(size=6), rng.normal(size=(6, 40))
    assert np.allclose(rescale(3 * signal + 7, 3 * history + 7), rescale(signal, history))


def test_equal_signals_are_no_reward():
    assert (rescale(np.array([4.0]), np.full((1, 9), 4.0)) == 0).all()


def test_the_reward_that_keeps_zero_by_hand():
    """eq: bandit-zero"""
    history = np.tile([0.0, -1, 2, -3, 4, -5, 6, -7, 8, -9, 10], (4, 1))  # without signs 0 to 10: 80 % at 8
    assert np.allclose(automated.keep_zero(np.array([0.0, 4, -2, -30]), history), [0, 0.5, -0.25, -1])
    assert (automated.keep_zero(np.zeros(1), np.zeros((1, 3))) == 0).all()
    # The other reward makes of no progress the worst, where all that was seen was progress.
    assert rescale(np.zeros(1), np.arange(11.0)[None]) == -1
    assert automated.keep_zero(np.zeros(1), np.arange(11.0)[None]) == 0


def test_a_step_by_hand():
    """eq: bandit-estimate and eq: exp3s"""
    even = np.full((1, 2), 0.5)
    # reward 1 at chance 1/2 counts as 2; with lr = ln(2) / 2 the weight e^w of task 0 doubles: (2, 1). At step 4
    # a quarter of each goes to the other: 3/4 * 2 + 1/4 * 1 = 1.75, and 3/4 * 1 + 1/4 * 2 = 1.25.
    w = exp3s(np.zeros((1, 2)), even, np.array([0]), np.array([1.0]), 4, np.log(2) / 2)
    assert np.allclose(np.exp(w), [[1.75, 1.25]])
    # reward -1 at chance 1/4 counts as -4; with lr = ln(2) / 4 the weight of task 1 halves: (1, 1/2, 1). At step 2
    # half is kept, half comes from the mean of the others: 1/2 + 3/8, 1/4 + 1/2, 1/2 + 3/8.
    pi = np.array([[0.5, 0.25, 0.25]])
    w = exp3s(np.zeros((1, 3)), pi, np.array([1]), np.array([-1.0]), 2, np.log(2) / 4)
    assert np.allclose(np.exp(w), [[0.875, 0.75, 0.875]])


def test_sharing_moves_weight_and_makes_none():
    rng = np.random.default_rng(0)
    w, action, reward = rng.normal(size=(9, 5)), rng.integers(5, size=9), rng.uniform(-1, 1, 9)
    pi = policy(w, 0.1)
    for step in (1, 2, 50):
        after = exp3s(w, pi, action, reward, step, 0.05)
        grown = w.copy()
        grown[range(9), action] += 0.05 * reward / pi[range(9), action]
        assert np.allclose(np.exp(after).sum(1), np.exp(grown).sum(1)), step


def test_the_estimate_is_right_on_average():
    """Each task's weight grows, on average over the draw, by lr times its own reward, however rarely it is drawn."""
    pi, rewards = np.array([[0.9, 0.08, 0.02]]), np.array([0.3, -0.5, 0.8])
    w, late = np.log(pi), 10**12  # at that step hardly anything is shared
    change = sum(
        pi[0, a] * (exp3s(w, pi, np.array([a]), rewards[a : a + 1], late, 0.01) - w) for a in range(3)
    )
    assert np.allclose(change, 0.01 * rewards)


def test_equal_rewards_keep_the_policy_uniform():
    w, pi = np.zeros((1, 4)), np.full((1, 4), 0.25)
    mean = np.mean([exp3s(w, pi, np.array([a]), np.array([0.7]), 3, 0.05) for a in range(4)], axis=0)
    assert np.allclose(policy(mean, 0.05), 0.25), "on average over the draws"
    bandit = Bandit(lambda gains: np.full_like(gains.fresh, 2.5))
    teach(SMALL, bandit, range(3), 30)
    assert np.allclose(policy(bandit.weights, 0.05), 0.5), "a constant signal: in every run"


def test_weights_of_hundreds_do_no_harm():
    w = exp3s(np.array([[900.0, -900.0]]), np.array([[0.5, 0.5]]), np.array([1]), np.array([1.0]), 1, 50.0)
    assert np.isfinite(w).all()


def test_what_is_left_is_the_expected_loss_above_the_noise():
    """eq: menu-excess"""
    rng = np.random.default_rng(0)
    w, truth, x = np.array([1.0, -2.0]), np.array([0.5, 0.0]), rng.normal(size=(400_000, 2))
    y = x @ truth + 0.3 * rng.normal(size=len(x))
    left = automated._left(w, truth)
    assert left == 0.5 * (0.25 + 4)
    assert np.isclose((0.5 * (x @ w - y) ** 2).mean() - 0.5 * 0.3**2, left, rtol=0.01)


def test_learning_is_as_fast_as_theory_says():
    # E[A^2] = (1 + (D + 1) / B) I for the mean A of x x^T over B normal examples. So without noise the expected
    # excess shrinks by 1 - 2 lr + lr^2 (1 + (D + 1) / B) in each update: 1 - 0.2 + 0.01 * 1.6 = 0.816.
    menu = Menu(inputs=(5, 1), noise=0.0, lr=0.1)
    left = teach(menu, Spy(), range(800), 5).excess[:, :, 0].mean(0)
    assert np.allclose(left / left[0], 0.816 ** np.arange(6), rtol=0.05)


def test_only_the_task_taught_changes_and_the_exact_gain_is_its_drop():
    spy = Spy(task=1)
    excess = teach(SMALL, spy, range(4), 20).excess
    assert (excess[:, :, 0] == excess[:, :1, 0]).all()
    drops = -np.diff(excess[:, :, 1], axis=1)
    assert np.allclose(drops, np.stack([gains.exact for _, _, gains in spy.heard], axis=1))


def test_the_gain_on_the_trained_batch_is_positive_even_where_nothing_can_be_learned():
    """eq: prediction-gain"""
    spy = Spy(task=1)
    menu = Menu(inputs=(1, 20), unlearnable=1, lr=0.005)
    excess = teach(menu, spy, range(40), 100).excess[:, :, 1]
    trained = np.array([gains.trained for *_, gains in spy.heard])
    assert (trained > 0).all(), "a small step down the gradient of a loss lowers that loss"
    exact = np.array([gains.exact for *_, gains in spy.heard])
    assert (exact.mean(0) < 0).all(), "but it does harm"
    assert (excess[:, 0] == 0).all() and (excess[:, 1:] > 0).all(), "nothing was there to learn"
    # The first step, from w = 0, lowers the batch's loss by lr |g|^2 less a half of lr^2 g A g. With targets of
    # variance 20 in B = 10 examples, E |g|^2 = 20 * 20 / 10 = 40: about 0.005 * 40 = 0.2, less what is quadratic.
    assert 0.17 < trained[0].mean() < 0.21


def test_a_small_steps_gain_is_lr_times_the_squared_gradient():
    """By hand: one input, targets y = 3 x, from w = 0. With A the mean of x^2 the gradient is g = -3 A, and the gain
    is lr |g|^2 (1 - lr A / 2): over lr |g|^2 it tends to 1. A loss without its half would tend to 2.
    """
    x = np.array([[[1.0], [2.0]]])  # [R, B, D]: A = 2.5
    y, w = 3 * x[..., 0], np.zeros((1, 1))
    g = automated._gradient(w, x, y)
    assert g == [[-7.5]]
    for lr in (0.1, 0.01, 0.001):
        gain = automated._loss(w, x[:, None], y[:, None]) - automated._loss(
            w - lr * g, x[:, None], y[:, None]
        )
        assert np.isclose(gain[0, 0] / (lr * 7.5**2), 1 - lr * 2.5 / 2)
    # And in the loop, with 4 inputs and noise: just below lr |g|^2.
    spy = Spy(task=1)
    teach(Menu(inputs=(1, 4), lr=1e-4), spy, range(20), 1)
    (_, _, gains), seeds = spy.heard[0], range(20)
    draws = [automated._draws(seed, 1, 10, 4)(0) for seed in seeds]
    x, e = np.stack([draw[1][0] for draw in draws]), np.stack([draw[2][0] for draw in draws])
    truth = np.stack([automated.generator(seed, "menu").standard_normal((2, 4))[1] for seed in seeds])
    y = (x @ truth[:, :, None])[..., 0] + 0.1 * e
    ratio = gains.trained / (1e-4 * (automated._gradient(np.zeros((20, 4)), x, y) ** 2).sum(1))
    assert (ratio > 0.99).all() and (ratio < 1).all()


def test_the_fresh_gain_estimates_the_exact_one():
    spy = Spy(task=1)
    teach(SMALL, spy, range(400), 30)
    _, untouched, exact = (np.array([g[i] for *_, g in spy.heard]) for i in range(3))
    assert np.isclose(untouched.mean(), exact.mean(), rtol=0.03)


def test_a_replica_depends_on_its_own_seed():
    together = teach(SMALL, Bandit(fresh), (5, 2, 9), 60)
    alone = teach(SMALL, Bandit(fresh), (2,), 60)
    assert (together.actions[1] == alone.actions[0]).all()
    assert np.allclose(together.excess[1], alone.excess[0], rtol=1e-10)


def test_a_longer_run_begins_as_the_shorter():
    long, short = (teach(SMALL, Bandit(fresh), range(3), steps) for steps in (80, 40))
    assert (long.actions[:, :40] == short.actions).all() and (long.excess[:, :41] == short.excess).all()


def test_a_run_does_not_depend_on_the_unit_of_the_signal():
    plain = teach(Menu(), Bandit(fresh), range(3), 200)
    other = teach(Menu(), Bandit(lambda gains: 4 * gains.fresh + 3), range(3), 200)  # exact in floats, nearly
    assert (plain.actions == other.actions).mean() > 0.99


def test_the_oracle_takes_the_largest_remainder():
    run = teach(Menu(inputs=(2, 2, 2)), Oracle(), range(5), 30)
    assert (run.actions == run.excess[:, :-1].argmax(2)).all()


def test_uniform_teaches_all_alike():
    actions = teach(SMALL, Uniform(), range(10), 400).actions
    assert abs(actions.mean() - 0.5) < 4 * 0.5 / np.sqrt(actions.size)


def test_prediction_gain_falls_for_noise():
    menu = Menu(inputs=(1,) * 8 + (30,) * 3, unlearnable=1)
    steps, found = 1500, {}
    for name, teacher in {"gain": Bandit(lambda gains: gains.trained), "uniform": Uniform()}.items():
        run = teach(menu, teacher, range(4), steps)
        found[name] = (run.actions == 10).mean(), run.excess[:, 600, :10].mean()
    assert found["gain"][0] > 0.7 and found["uniform"][0] < 0.12
    assert found["gain"][1] > 2 * found["uniform"][1]


def test_a_play_draws_from_its_policy_and_prefers_what_pays():
    rng = np.random.default_rng(0)
    signals = np.array([0.0, 0.0, 1.0]) + 0.3 * rng.normal(size=(20, 150, 3))
    pi, actions = automated.play(signals, rng.random((20, 150)), 0.05, 0.1)
    assert pi.shape == (20, 151, 3) and np.allclose(pi.sum(2), 1) and (pi[:, 0] == 1 / 3).all()
    assert pi[:, -1, 2].mean() > 0.7 and (actions[:, -50:] == 2).mean() > 0.7
    first = automated.play(signals[:1, :3], np.array([[0.2, 0.5, 0.9999]]), 0.05, 0.1)[1]
    assert (first == [[0, 1, 2]]).all(), "thirds of 0 to 1, while the policy is nearly uniform"


def test_a_menu_without_anything_to_learn_is_refused():
    with pytest.raises(ClkitError, match="one that can be learned"):
        Menu(inputs=(1, 1), unlearnable=2)
