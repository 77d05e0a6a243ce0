"""Quadratic losses of a few weights: closed forms against the loop, balance of the pulls, anchors, projection."""

import numpy as np
import pytest
import torch

from clkit.bowls import (
    Bowl,
    descend,
    efficiency,
    efficiency_so_far,
    pareto,
    project,
    spring,
    surgery,
    total,
    visit,
)
from clkit.errors import ClkitError
from clkit.gradient.agem import project as trained
from clkit.gradient.pcgrad import projected

OLD = Bowl(np.array([[3.0, 0.8], [0.8, 1.0]]), np.array([-1.2, 0.6]))
NEW = Bowl(np.array([[1.0, -0.6], [-0.6, 2.5]]), np.array([1.0, -0.9]))
START = np.array([-2.0, -1.8])


def some_bowl(seed, weights=3):
    """Any symmetric, positive definite curvature, any minimum."""
    chance = np.random.default_rng(seed)
    root = chance.normal(size=(weights, weights))
    curvature = root @ root.T + 0.2 * np.eye(weights)
    return Bowl((curvature + curvature.T) / 2, chance.normal(size=weights))


def test_loss_and_gradient_by_hand():
    """eq: bowl-loss and eq: bowl-gradient."""
    # At the start, from the minimum of task 1: (-0.8, -2.4). A d = (-2.4 - 1.92, -0.64 - 2.4) = (-4.32, -3.04).
    # The loss is half of 0.8 x 4.32 + 2.4 x 3.04 = 3.456 + 7.296.
    assert OLD.gradient(START) == pytest.approx([-4.32, -3.04])
    assert OLD.loss(START) == pytest.approx(5.376)
    assert OLD.loss(OLD.minimum) == 0 and not OLD.gradient(OLD.minimum).any()
    assert OLD.loss(np.stack([START, OLD.minimum])) == pytest.approx(
        [5.376, 0]
    )  # any number of points at once


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_of_the_loss(seed):
    bowl, w = some_bowl(seed), np.random.default_rng(seed + 100).normal(size=3)
    small = 1e-5 * np.eye(3)
    slopes = (bowl.loss(w + small) - bowl.loss(w - small)) / 2e-5
    assert bowl.gradient(w) == pytest.approx(slopes, abs=1e-8)


def test_one_step_by_hand():
    """eq: bowl-step."""
    # (-2, -1.8) - 0.1 x (-4.32, -3.04) = (-1.568, -1.496).
    path = descend(OLD.gradient, START, 0.1, 1)
    assert path[0].tolist() == START.tolist() and path[1] == pytest.approx([-1.568, -1.496])


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_is_the_loop(seed):
    """eq: bowl-closed-form."""
    bowl, start = some_bowl(seed), np.random.default_rng(seed + 100).normal(size=3)
    lr = 0.9 * bowl.largest_lr()
    path = descend(bowl.gradient, start, lr, 40)
    for steps in (0, 1, 2, 40):
        assert bowl.after(steps, start, lr) == pytest.approx(path[steps], abs=1e-12)


@pytest.mark.parametrize("bowl", [OLD, NEW, total(OLD, NEW), *map(some_bowl, range(5))])
def test_below_the_largest_step_size_the_path_comes_to_rest_and_above_it_runs_away(bowl):
    """eq: bowl-largest-lr."""
    start = bowl.minimum + np.linalg.eigh(bowl.curvature)[1].sum(1)  # a share in every direction
    slow, fast = (bowl.after(3000, start, share * bowl.largest_lr()) - bowl.minimum for share in (0.99, 1.01))
    assert np.linalg.norm(slow) < 1e-3 and np.linalg.norm(fast) > 1e6
    # At the limit itself the steepest direction is crossed for ever, neither nearer nor farther.
    steepest = np.linalg.eigh(bowl.curvature)[1][:, -1]
    edge = bowl.after(100, bowl.minimum + steepest, bowl.largest_lr())
    assert np.linalg.norm(edge - bowl.minimum) == pytest.approx(1)


def test_the_pulls_cancel_by_hand():
    """eq: bowls-balance."""
    # Curvatures 2 and 1 on one weight, minima 0 and 3: 2 w + (w - 3) = 0 at w = 1, where each pull is 2.
    one, other = (Bowl(np.array([[a]]), np.array([m])) for a, m in ((2.0, 0.0), (1.0, 3.0)))
    both = total(one, other)
    assert both.minimum == pytest.approx([1]) and both.curvature.tolist() == [[3]]
    assert one.gradient(both.minimum) == pytest.approx([2]) and other.gradient(both.minimum) == pytest.approx(
        [-2]
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_sum_of_bowls_is_a_bowl_but_for_a_constant(seed):
    bowls = [some_bowl(10 * seed + n) for n in range(3)]
    both, w = total(*bowls), np.random.default_rng(seed).normal(size=(4, 3))
    pulls = np.array([bowl.gradient(both.minimum) for bowl in bowls])
    assert np.abs(pulls.sum(0)).max() < 1e-10 and np.linalg.norm(pulls, axis=1).min() > 0.01
    assert both.gradient(w) == pytest.approx(sum(bowl.gradient(w) for bowl in bowls))
    rest = sum(bowl.loss(w) for bowl in bowls) - both.loss(w)
    assert rest == pytest.approx(np.full(4, rest[0])) and rest[0] > 0


def test_one_task_at_a_time():
    """eq: bowls-in-turn: each row of the order walks alone."""
    order = [[0, 0, 1], [1, 0, 1]]
    paths = visit((OLD, NEW), order, START, 0.1)
    for row, tasks in enumerate(order):
        w = START
        for n, present in enumerate(tasks):
            assert paths[n, row] == pytest.approx(w)
            w = w - 0.1 * (OLD, NEW)[present].gradient(w)
        assert paths[-1, row] == pytest.approx(w)


def test_one_task_after_the_other_is_an_order_too():
    first = descend(OLD.gradient, START, 0.1, 20)
    both = np.concatenate([first, descend(NEW.gradient, first[-1], 0.1, 30)[1:]])
    assert visit((OLD, NEW), [[0] * 20 + [1] * 30], START, 0.1)[:, 0] == pytest.approx(both)


def test_tasks_drawn_by_chance_walk_on_average_as_joint_training_with_half_the_step_size():
    """The gradient is linear in w, and each draw is independent of w: the mean follows the mean gradient."""
    order = np.random.default_rng(0).integers(2, size=(20000, 15))
    paths = visit((OLD, NEW), order, START, 0.1)
    expected = descend(total(OLD, NEW).gradient, START, 0.05, 15)
    error = paths.std(1) / np.sqrt(20000)
    assert (np.abs(paths.mean(1) - expected) <= 5 * error + 1e-12).all() and error[-1].max() < 0.01


@pytest.mark.parametrize("seed", range(5))
def test_a_spring_of_the_full_curvature_at_the_old_minimum_is_joint_training(seed):
    """eq: bowl-spring."""
    old, new = some_bowl(seed), some_bowl(seed + 50)
    guarded, joint = total(new, spring(old.curvature, old.minimum)), total(old, new)
    assert guarded.minimum == pytest.approx(joint.minimum) and guarded.curvature == pytest.approx(
        joint.curvature
    )
    diagonal = total(new, spring(np.diag(np.diag(old.curvature)), old.minimum))
    assert joint.loss(diagonal.minimum) > 1e-4  # above the lowest, which is 0
    strong = total(new, spring(old.curvature, old.minimum, 1e6))
    assert strong.minimum == pytest.approx(old.minimum, abs=1e-3)


def test_projection_by_hand():
    """eq: bowl-projection."""
    # g = (1, -2), r = (0, 3): g.r = -6, r.r = 9, so g + 2/3 r = (1, 0). The others do not oppose their reference.
    g, r = np.array([[1.0, -2.0]] * 3), np.array([[0.0, 3.0], [2.0, 1.0], [0.0, 0.0]])
    assert project(g, r) == pytest.approx(np.array([[1, 0], [1, -2], [1, -2]]))


def test_the_projection_is_the_one_that_trains_networks():
    chance = np.random.default_rng(0)
    g, r = chance.normal(size=(2, 100, 5))
    expected = torch.tensor(g)
    trained([expected], [torch.tensor(r)])
    assert project(g, r) == pytest.approx(expected.numpy())
    assert 20 < (project(g, r) != g).any(1).sum() < 80  # both cases occur


def test_agem_stops_where_the_pulls_oppose_each_other_and_not_at_the_equilibrium():
    end = OLD.after(60, START, 0.1)
    w = descend(lambda w: project(NEW.gradient(w), OLD.gradient(w)), end, 0.1, 400)[-1]
    g, r = NEW.gradient(w), OLD.gradient(w)
    assert g @ r / np.linalg.norm(g) / np.linalg.norm(r) == pytest.approx(-1)
    assert np.linalg.norm(g + r) > 1


@pytest.mark.parametrize("seed", range(5))
def test_training_with_a_spring_of_the_full_curvature_is_joint_training_at_every_step(seed):
    old, new = some_bowl(seed), some_bowl(seed + 50)
    start, both = np.random.default_rng(seed).normal(size=3), total(old, new)
    guarded, lr = total(new, spring(old.curvature, old.minimum)), 0.5 * both.largest_lr()
    assert descend(guarded.gradient, start, lr, 40) == pytest.approx(descend(both.gradient, start, lr, 40))


def test_surgery_by_hand():
    """eq: bowl-surgery."""
    # g1 = (1, 0), g2 = (-1, 2): g1.g2 = -1. g1 loses -1/5 g2: (4/5, 2/5). g2 loses -1 g1: (0, 2). Sum (0.8, 2.4).
    # Projecting g2 on what is left of g1 instead of on g1 would take out nothing: (4/5, 2/5).(-1, 2) = 0.
    assert surgery(np.array([1.0, 0.0]), np.array([-1.0, 2.0])) == pytest.approx([0.8, 2.4])
    # No conflict: the plain sum, also where one of them is zero.
    one, other = np.array([[1.0, 2.0], [1.0, 2.0]]), np.array([[2.0, -1.0], [0.0, 0.0]])
    assert surgery(one, other).tolist() == [[3, 1], [1, 2]]


def test_after_surgery_a_step_opposes_no_task():
    one, other = np.random.default_rng(0).normal(size=(2, 200, 5))
    left = surgery(one, other)
    square = (one * one).sum(1), (other * other).sum(1)
    cosine = (one * other).sum(1) / np.sqrt(square[0] * square[1])
    conflict = cosine < 0
    assert 50 < conflict.sum() < 150
    for g, length in zip((one, other), square, strict=True):  # along g only its own remainder counts
        expected = length * (1 - cosine**2)
        assert (left * g).sum(1)[conflict] == pytest.approx(expected[conflict])
    assert left[~conflict] == pytest.approx((one + other)[~conflict])


def test_the_surgery_is_the_one_that_trains_networks():
    chance = np.random.default_rng(0)
    g, order = chance.normal(size=(100, 2, 5)), torch.arange(2).expand(100, 2, 2)
    operation = projected(torch.tensor(g), order).sum(1).numpy()
    assert surgery(g[:, 0], g[:, 1]) == pytest.approx(operation)
    assert 20 < (abs(operation - g.sum(1)) > 1e-9).any(1).sum() < 80  # both cases occur


@pytest.mark.parametrize("seed", range(5))
def test_surgery_rests_exactly_where_the_pulls_oppose_each_other(seed):
    """eq: bowls-pareto. A whole curve of places; joint training has one of them."""
    old, new, both = some_bowl(seed), some_bowl(seed + 50), total(some_bowl(seed), some_bowl(seed + 50))
    front = pareto(old, new, np.linspace(0.02, 0.98, 49))
    g, h = old.gradient(front), new.gradient(front)
    assert np.abs(surgery(g, h)).max() < 1e-9 * np.linalg.norm(h, axis=1).max()
    cosine = (g * h).sum(1) / np.linalg.norm(g, axis=1) / np.linalg.norm(h, axis=1)
    assert cosine == pytest.approx(-1)
    assert front[24] == pytest.approx(both.minimum)  # equal shares
    balanced = np.linalg.norm(g + h, axis=1) < 1e-9
    assert balanced.sum() == 1
    # Anywhere else the step is as long as the pulls are not opposite: it never vanishes off the curve.
    places = np.random.default_rng(seed + 100).normal(size=(500, 3))
    g, h = old.gradient(places), new.gradient(places)
    lengths = [np.linalg.norm(v, axis=1) for v in (g, h)]
    sine = np.sqrt(1 - ((g * h).sum(1) / lengths[0] / lengths[1]) ** 2)
    assert (np.linalg.norm(surgery(g, h), axis=1) >= 0.999 * np.maximum(*lengths) * sine).all()


def test_the_ends_of_the_curve_are_the_minima_where_surgery_does_not_rest():
    ends = pareto(OLD, NEW, [0, 1])
    assert ends == pytest.approx(np.stack([OLD.minimum, NEW.minimum]))
    # In the minimum of task 1 its gradient is zero and forbids nothing, so the step follows task 2.
    there = surgery(np.zeros(2), NEW.gradient(OLD.minimum))
    assert there == pytest.approx(NEW.gradient(OLD.minimum)) and np.linalg.norm(there) > 1


def test_surgery_from_different_starts_rests_in_different_places():
    starts = np.array([[-2.0, -1.8], [-2, 1.5], [2.5, 1], [0, 1.5]])
    ends = descend(lambda w: surgery(OLD.gradient(w), NEW.gradient(w)), starts, 0.08, 400)[-1]
    front = pareto(OLD, NEW, np.linspace(0, 1, 2001))
    assert np.linalg.norm(ends[:, None] - front, axis=-1).min(1).max() < 1e-3
    assert np.linalg.norm(np.diff(ends, axis=0), axis=1).min() > 0.1
    joint = descend(total(OLD, NEW).gradient, starts, 0.08, 400)[-1]
    assert joint == pytest.approx(np.tile(total(OLD, NEW).minimum, (4, 1)))


def test_efficiency_by_hand():
    """eq: bowls-efficiency and eq: bowls-efficiency-so-far."""
    # (3, 0) and (0, 4): 5 of 7. Opposed and equal: 0. The same way: 1. No pull: 0.
    g = np.array([[[3.0, 0], [0, 4]], [[1, 0], [-1, 0]], [[1, 1], [2, 2]], [[0, 0], [0, 0]]])
    assert efficiency(g) == pytest.approx([5 / 7, 0, 1, 0])
    # Along these four places: 5 of 7, 5 of 9, then 5 + 3 sqrt 2 of 9 + 3 sqrt 2, and no more.
    rest = (5 + 18**0.5) / (9 + 18**0.5)
    assert efficiency_so_far(g) == pytest.approx([5 / 7, 5 / 9, rest, rest])


def test_most_of_the_pull_in_joint_training_moves_nothing():
    """The numbers of the page: panel C from the start, step size 0.08."""
    path = descend(total(OLD, NEW).gradient, START, 0.08, 60)
    g = np.stack([OLD.gradient(path), NEW.gradient(path)], axis=1)
    assert efficiency(g)[[0, 5, 10, 20, 40]] == pytest.approx([0.980, 0.374, 0.0496, 0.00106, 0], abs=5e-4)
    assert efficiency_so_far(g)[-1] == pytest.approx(0.118, abs=5e-4)


def test_the_long_axis_by_hand():
    """eq: bowl-axis and eq: bowl-turned."""
    flat = Bowl(np.diag([1.0, 3.0]), np.array([2.0, 1.0]))  # long along the first weight
    assert flat.axis() % 180 == pytest.approx(0)
    assert flat.turned(90).curvature == pytest.approx(np.diag([3, 1]))
    # A quarter of the circle halved: both weights alike, (1 + 3) / 2, and (1 - 3) / 2 between them.
    assert flat.turned(45).curvature == pytest.approx(np.array([[2, -1], [-1, 2]]))
    assert flat.turned(30).axis() == pytest.approx(30) and flat.turned(-30).axis() == pytest.approx(150)
    assert flat.turned(30).minimum.tolist() == [2, 1]
    assert NEW.axis() - OLD.axis() == pytest.approx(-90)  # the two bowls of the page lie across each other


def test_turning_a_bowl_keeps_how_steep_it_is():
    for degrees in (0, 17, 90, 180, 200):
        turned = NEW.turned(degrees)
        assert np.linalg.eigvalsh(turned.curvature) == pytest.approx(np.linalg.eigvalsh(NEW.curvature))
        assert (turned.axis() - NEW.axis() - degrees) % 180 == pytest.approx(0, abs=1e-9) or (
            turned.axis() - NEW.axis() - degrees
        ) % 180 == pytest.approx(180)


@pytest.mark.parametrize("curvature", [[[1, 0.5], [0.4, 1]], [[1, 2], [2, 1]], [[1, 0], [0, 0]]])
def test_a_curvature_without_a_lowest_point_is_refused(curvature):
    with pytest.raises(ClkitError, match="positive eigenvalues"):
        Bowl(np.array(curvature, dtype=float), np.zeros(2))


def test_a_step_size_or_strength_that_is_none_is_refused():
    with pytest.raises(ClkitError, match="lr must be greater than zero"):
        descend(OLD.gradient, START, 0.0, 1)
    with pytest.raises(ClkitError, match="lr must be greater than zero"):
        visit((OLD, NEW), [[0]], START, -0.1)
    with pytest.raises(ClkitError, match="strength must be"):
        spring(OLD.curvature, START, -1)


@pytest.mark.parametrize("seed", range(5))
def test_one_spring_for_all_old_tasks_is_joint_training_and_a_spring_for_each_is_not(seed):
    """Huszar (2018): four bowls of four weights, each trained to its lowest point with the springs so far."""
    tasks = [some_bowl(seed + 1000 * t, 4) for t in range(4)]
    joint, one, each = (
        total(*tasks).minimum,
        tasks[0],
        [tasks[0]],
    )  # of the first task both are the bowl itself
    for new in tasks[1:]:
        reached = total(new, one)
        one = spring(reached.curvature, reached.minimum)  # the summed curvature, fastened at the last optimum
        apart = total(new, *each).minimum
        each.append(spring(new.curvature, apart))  # its own curvature, fastened where its training ended
    assert one.minimum == pytest.approx(joint, abs=1e-12)
    best, separate, none = (sum(task.loss(w) for task in tasks) for w in (joint, apart, tasks[-1].minimum))
    assert best + 0.01 < separate < none
