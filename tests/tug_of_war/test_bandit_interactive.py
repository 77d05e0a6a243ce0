"""The bandit that the page plays while the reader moves sliders, against the package's."""

import numpy as np

from clkit.tug_of_war.automated_curriculum import play, rescale


def setting(seed):
    rng = np.random.default_rng(seed)
    made = {
        "progress": rng.uniform(0, 1, 4).round(2).tolist(),
        "spread": float(rng.choice([0.0, 0.4, 1.5])),
        "lr": float(rng.uniform(0, 0.3)),
        "epsilon": float(rng.uniform(0.01, 1)),
        "steps": int(rng.integers(1, 401)),
    }
    return made | {"u": rng.random(400).tolist(), "z": rng.standard_normal(400).tolist()}


def test_it_plays_as_the_package_does(javascript):
    cases = [setting(seed) for seed in range(20)]
    for case, found in zip(cases, javascript("bandit", cases), strict=True):
        n = case["steps"]
        signals = np.tile(case["progress"], (1, n, 1))
        signals[0, :, 3] += case["spread"] * np.array(case["z"][:n])
        pi, tasks = play(signals, np.array([case["u"][:n]]), case["lr"], case["epsilon"])
        assert found["tasks"] == tasks[0].tolist()
        assert np.allclose(found["policies"], pi[0], rtol=0, atol=1e-6)
        heard = signals[0, range(n), tasks[0]]
        rewards = [rescale(heard[t : t + 1], heard[None, : t + 1])[0] for t in range(n)]
        assert np.allclose(found["rewards"], rewards, rtol=0, atol=1e-6)
        assert found["pulls"] == np.bincount(tasks[0], minlength=4).tolist()


def test_numbers_by_hand(javascript):
    # Both draws take task 1 of two (u = 0.1). Step 1: one signal, no spread of the history, reward 0. Step 2: the
    # signals are 0 and 1 (task 2 at u = 0.9), quantiles 0.2 and 0.8, so reward 1, cut. Its estimate is 1 / 0.5 = 2.
    # With lr = ln(2) / 2 its e^w is 2; at step 2 half of each goes round: 1.5 and 1.5.
    case = {"progress": [0.0, 1.0], "spread": 0.0, "lr": np.log(2) / 2, "epsilon": 0.0, "steps": 2}
    (found,) = javascript("bandit", [case | {"u": [0.1, 0.9], "z": [0, 0]}])
    assert found["tasks"] == [0, 1] and np.allclose(found["rewards"], [0, 1])
    assert np.allclose(found["policies"], 0.5)


def test_equal_progress_keeps_the_policy_uniform_and_units_do_not_count(javascript):
    case = setting(0) | {"progress": [0.4] * 4, "spread": 0.0, "epsilon": 0.2, "steps": 300}
    plain = setting(1) | {"progress": [0.1, 0.2, 0.4, 0.0], "spread": 0.0, "lr": 0.05, "steps": 300}
    double = plain | {"progress": [0.2, 0.4, 0.8, 0.0]}
    even, first, second = javascript("bandit", [case, plain, double])
    assert np.allclose(even["policies"], 0.25)
    assert np.allclose(first["policies"], second["policies"]) and not np.allclose(first["policies"], 0.25)


def test_a_lottery_among_tasks_that_bring_nothing(javascript):
    # The page's random numbers. All four at 0: most values are 0, both quantiles too, and every reward is 0.
    # With task 1 at 0.05 the quantiles differ, and the lottery stands above the tasks that bring exactly nothing.
    rng = np.random.default_rng(1)
    page = {"u": rng.random(400).round(4).tolist(), "z": rng.standard_normal(400).round(4).tolist()}
    case = page | {"progress": [0.0] * 4, "spread": 1.0, "lr": 0.05, "epsilon": 0.05, "steps": 200}
    equal, differ = javascript("bandit", [case, case | {"progress": [0.05, 0.0, 0.0, 0.0]}])
    assert np.allclose(equal["policies"][-1], 0.25, atol=0.01) and equal["rewards"][-1] == 0
    first, *nothing, lottery = differ["policies"][-1]
    assert first > 0.5 and lottery > 2 * max(nothing)


def test_the_lottery_stays_ahead_of_nothing_with_other_random_numbers():
    rng = np.random.default_rng(5)
    signals = np.tile([0.05, 0.0, 0.0, 0.0], (100, 200, 1))
    signals[:, :, 3] += rng.standard_normal((100, 200))
    pi, _ = play(signals, rng.random((100, 200)), 0.05, 0.05)
    ahead = pi[:, -1, 3] - pi[:, -1, 1:3].mean(1)
    assert ahead.mean() > 4 * ahead.std() / np.sqrt(len(ahead))
