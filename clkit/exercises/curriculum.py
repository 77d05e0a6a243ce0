"""Graded exercise: a step of Exp3.S with a bonus, and a signal of progress without a second batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clkit.exercise import Arguments, Exercise, Mistake, Question, matches

Array = NDArray[Any]


def _steps(rng: np.random.Generator) -> list[Arguments]:
    """A first step; one at a rare task; a loss; a bonus; two tasks."""
    cases: list[Arguments] = [[np.zeros(4), 2, 0.8, 0.25, 0.1, 0.2, 0.05]]
    for action, reward, share, bonus, size in (
        (0, 1.0, 0.1, 0.0, 5),
        (3, -0.7, 0.02, 0.1, 6),
        (1, 0.4, 0.3, 0.2, 2),
    ):
        weights = rng.normal(size=size)
        weights[action] -= 1.5
        cases.append([weights, action, reward, share, float(rng.uniform(0.05, 0.2)), bonus, 0.1])
    return cases


def _chances(weights: Array, epsilon: float) -> Array:
    soft = np.exp(weights - weights.max())
    return (1 - epsilon) * soft / soft.sum() + epsilon / len(weights)


def _estimate(weights: Array, action: int, reward: float, bonus: float, epsilon: float) -> Array:
    return (np.eye(len(weights))[int(action)] * reward + bonus) / _chances(weights, epsilon)


def _shared(grown: Array, share: float) -> Array:
    each = np.exp(grown)
    return np.log((1 - share) * each + share * (each.sum() - each) / (len(each) - 1))


def _bonus_step(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    grown = weights + lr * _estimate(weights, action, reward, bonus, epsilon)
    return _chances(_shared(grown, share), epsilon)


def _bonus_for_one(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    one = np.eye(len(weights))[int(action)]
    grown = weights + lr * one * _estimate(weights, action, reward, bonus, epsilon)
    return _chances(_shared(grown, share), epsilon)


def _not_divided(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    grown = weights + lr * (np.eye(len(weights))[int(action)] * reward + bonus)
    return _chances(_shared(grown, share), epsilon)


def _not_shared(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    return _chances(weights + lr * _estimate(weights, action, reward, bonus, epsilon), epsilon)


def _shared_with_itself(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    each = np.exp(weights + lr * _estimate(weights, action, reward, bonus, epsilon))
    return _chances(np.log((1 - share) * each + share * each.sum() / (len(each) - 1)), epsilon)


def _epsilon_after_only(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    grown = weights + lr * _estimate(weights, action, reward, bonus, 0)
    return _chances(_shared(grown, share), epsilon)


def _epsilon_before_only(
    weights: Array, action: int, reward: float, share: float, lr: float, bonus: float, epsilon: float
) -> Array:
    grown = weights + lr * _estimate(weights, action, reward, bonus, epsilon)
    return _chances(_shared(grown, share), 0)


def _judge_step(
    answer: object,
    weights: Array,
    action: int,
    reward: float,
    share: float,
    lr: float,
    bonus: float,
    epsilon: float,
) -> str | None:
    wanted = _bonus_step(weights, action, reward, share, lr, bonus, epsilon)
    wrong = matches(wanted, answer, "")
    if wrong is None:
        return None
    given = np.asarray(answer, float) if not wrong else wanted
    if np.abs(given).max() < 1e6 and abs(given.sum() - 1) > 1e-6:
        return f"the chances add up to {given.sum():.4g}, not to 1"
    return wrong or "these are chances, but not those after this step"


POLICY_AFTER = Question(
    name="policy_after",
    points=3,
    asks="What is the policy after one step of Exp3.S with a bonus?",
    inputs=_steps,
    judge=_judge_step,
    mistakes=(
        Mistake(
            _bonus_for_one,
            "The bonus goes to every task, drawn or not: it is what lets a task that is hardly ever drawn come back.",
        ),
        Mistake(
            _not_divided,
            "Divide by the chance that the task had before the step. A task that is drawn rarely must count for more.",
        ),
        Mistake(
            _not_shared,
            "Each weight has grown as it should, but hands nothing round. Share e^w, not w, and leave out the task "
            "itself in the sum of the others.",
        ),
        Mistake(
            _shared_with_itself,
            "The estimates are right. What goes wrong is the share: the sum of the others leaves out e^w of the task "
            "itself.",
        ),
        Mistake(
            _epsilon_after_only,
            "epsilon enters both times. The chance that you divide by is that of the policy before the step, with its "
            "share of uniform choice.",
        ),
        Mistake(
            _epsilon_before_only,
            "epsilon enters both times. The policy after the step has its share of uniform choice, too.",
        ),
    ),
    ladder=(
        "Four lines: the policy before, the estimates, the weights after, the policy after.",
        "The estimates are (r + b) / pi for the task drawn and b / pi for the others, with the policy before the step.",
        "With v = exp(w + lr * estimates), the new exp(w) is (1 - share) v + share (sum(v) - v) / (K - 1). Then the "
        "policy again, with softmax and epsilon.",
    ),
)


def _batches(rng: np.random.Generator) -> list[Arguments]:
    """A rule; no rule; two examples only; more inputs than examples; weights that are right already."""
    cases: list[Arguments] = []
    for examples, inputs, rule, lr in (
        (6, 3, 1.0, 0.1),
        (10, 20, 0.0, 0.05),
        (2, 2, 1.0, 0.2),
        (5, 8, 0.5, 0.05),
    ):
        X, w = rng.normal(size=(examples, inputs)), rng.normal(size=inputs)
        y = rule * X @ rng.normal(size=inputs) + rng.normal(size=examples)
        cases.append([w, X, y, lr])
    X, w = rng.normal(size=(4, 3)), rng.normal(size=3)
    return [*cases, [w, X, X @ w + 0.1 * rng.normal(size=4), 0.1]]


def _half(error: Array) -> Array:
    return 0.5 * error**2


def _held_out(w: Array, X: Array, y: Array, lr: float) -> float:
    B, error, alike = len(y), X @ w - y, X @ X.T
    moved = error - lr / (B - 1) * (alike @ error - np.diag(alike) * error)
    return float((_half(error) - _half(moved)).mean())


def _trained(w: Array, X: Array, y: Array, lr: float) -> float:
    """Prediction gain: every example is judged by a step that it took part in."""
    error = X @ w - y
    return float((_half(error) - _half(error - lr / len(y) * (X @ X.T @ error))).mean())


def _mean_of_all(w: Array, X: Array, y: Array, lr: float) -> float:
    """Divided by all examples of the batch, though only the others take part."""
    error, alike = X @ w - y, X @ X.T
    return float(
        (_half(error) - _half(error - lr / len(y) * (alike @ error - np.diag(alike) * error))).mean()
    )


def _sum_of_gains(w: Array, X: Array, y: Array, lr: float) -> float:
    """Added over the examples, not averaged."""
    return len(y) * _held_out(w, X, y, lr)


def _sum_of_gradients(w: Array, X: Array, y: Array, lr: float) -> float:
    """A step on the sum of the other examples' gradients."""
    return _held_out(w, X, y, lr * (len(y) - 1))


def _judge_signal(answer: object, w: Array, X: Array, y: Array, lr: float) -> str | None:
    wanted, own = _held_out(w, X, y, lr), _trained(w, X, y, lr)
    wrong = matches(wanted, answer, "")
    if wrong is None:
        return None
    given = float(np.asarray(answer, float)) if not wrong else 0.0
    if not wrong and abs(given + wanted) < 1e-6 * max(1.0, abs(wanted)):
        return "the sign is wrong: a gain is the loss before minus the loss after"
    if not wrong and wanted < 0 < given and own > 0:
        return "the signal is positive, but the steps on the other examples do harm here"
    return wrong or "each example's loss, before minus after the step on the others, has another mean"


HELD_OUT_GAIN = Question(
    name="held_out_gain",
    points=4,
    asks="How much does a step on the other examples help each example of a batch?",
    inputs=_batches,
    judge=_judge_signal,
    mistakes=(
        Mistake(
            _trained,
            "This is the prediction gain: each example took part in the step that it judges. On noise it is "
            "positive all the same. Leave the example out of its step.",
        ),
        Mistake(
            _mean_of_all,
            "Each step is made from B - 1 examples, and the gradient is their mean: divide by B - 1, not by B.",
        ),
        Mistake(
            lambda w, X, y, lr: -_held_out(w, X, y, lr),
            "The sign is wrong: a gain is the loss before minus the loss after.",
        ),
        Mistake(
            _sum_of_gains,
            "You have added up the gains of the examples. The signal is their mean: divide by B in the end.",
        ),
        Mistake(
            _sum_of_gradients,
            "Each step follows the mean gradient of the other examples. Yours follows their sum, which makes it B - 1 "
            "times too long.",
        ),
    ),
    ladder=(
        "Write it as a loop first: for each example i, take the rows without i, step from theta, and measure the loss "
        "of example i before and after. Every example starts from the same theta.",
        "The gradient without i is X_rest.T @ (X_rest @ theta - y_rest) / (B - 1). np.delete(X, i, axis=0) gives "
        "X_rest.",
        "The answer is the mean over i of 0.5 * (X[i] @ theta - y[i])**2 - 0.5 * (X[i] @ new - y[i])**2, where new = "
        "theta - lr * gradient without i.",
    ),
)

EXERCISE = Exercise("curriculum", "tug_of_war", (POLICY_AFTER, HELD_OUT_GAIN))
