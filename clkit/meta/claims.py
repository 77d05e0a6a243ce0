"""Claims of the review's meta part, as experiments."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from torch.nn.functional import one_hot

from clkit.adaptation import Adaptation, adaptation
from clkit.claims import Outcome, claim
from clkit.episodes import Distribution, LabelSwap, Sinusoids
from clkit.learner import JointPretraining, Learner, run_meta
from clkit.meta.maml import MAML
from clkit.nets import Build
from clkit.record import Record
from clkit.replicas import Draws
from clkit.schedule import Schedule

RATES = (0.3, 1.0, 3.0, 10.0)  # of the grid, inner step size of MAML on label swaps
PLENTY = 4  # episodes of joint training to one of MAML, which spends as many operations on it
TRIAL = Schedule(iterations=300, tasks=10, steps=1, grid=(1.0,), validation_tasks=40, test_tasks=20)
SWAPS = {"iterations": 1000, "tasks": 10, "every": 250, "validation_tasks": 40, "test_tasks": 100}
FLIPS = {"iterations": 2000, "tasks": 25, "every": 500, "validation_tasks": 40, "test_tasks": 100}


def grid(replicas: int) -> list[dict[str, float]]:
    """Loss of MAML on validation tasks with each inner step size, after a short training."""
    rows = []
    for rate in RATES:
        curve = run_meta(MAML(inner_lr=rate), LabelSwap(), TRIAL, replicas=replicas, progress=False).curve
        assert curve is not None
        rows.append({"inner_lr": rate, "loss": float(curve[:, -1].mean())})
    return rows


def arms(
    maml: MAML, tasks: Distribution, settings: dict[str, int], replicas: int
) -> tuple[dict[str, Record], dict[str, Adaptation]]:
    """MAML, joint training on several times as many episodes, and a network that has learned nothing."""
    short = Schedule(**settings)  # type: ignore[arg-type]
    long = Schedule(**settings | {n: PLENTY * settings[n] for n in ("iterations", "every")})  # type: ignore[arg-type]
    learners: dict[str, Learner] = {"maml": maml, "joint_pretraining": JointPretraining()}
    records = {
        arm: run_meta(learner, tasks, long if arm != "maml" else short, replicas=replicas, progress=False)
        for arm, learner in learners.items()
    }
    learners["scratch"], draws = JointPretraining(), Draws(tuple(range(replicas)))
    learners["scratch"].start(Build(short.network, tasks.shape, tasks.rule(), draws), draws)
    return records, {arm: adaptation(learner, tasks, short) for arm, learner in learners.items()}


def nearest_mean(tasks: LabelSwap, replicas: int, count: int) -> np.ndarray:
    """Accuracy [R] of the nearest class mean of the support's pixels: nothing is learned before the task."""
    episode = tasks.episode(Draws(tuple(range(replicas))), count, 0, "test")
    x, y = episode.support.x.flatten(2), episode.support.y
    member = one_hot(y).to(x.dtype).transpose(1, 2)  # [R x M, C, N]
    means = member @ x / member.sum(2, keepdim=True)
    distances = (episode.query.x.flatten(2)[:, :, None] - means[:, None]).square().sum(-1)
    return tasks.measure(-distances, episode.query.y).view(replicas, -1).double().mean(1).numpy()


def whole(name: str, records: dict[str, Record], found: dict[str, Adaptation]) -> dict[str, np.ndarray]:
    """What every arm came to [R]."""
    reported = {}
    for arm, result in found.items():
        for k in (0, 1, 10):
            reported[f"{name}: loss at step {k}, {arm}"] = result.loss[:, k]
            if records["maml"].metric == "accuracy":
                reported[f"{name}: accuracy at step {k}, {arm}"] = result.metric[:, k]
    for arm, record in records.items():
        reported[f"{name}: bytes kept, {arm}"] = np.full(len(record.seeds), record.bytes_kept[-1])
        reported[f"{name}: operations in training, {arm}"] = np.full(len(record.seeds), record.flops[-1])
    return reported


def curves(records: dict[str, Record], found: dict[str, Adaptation]) -> dict[str, Any]:
    """For figures: by inner step [R, K+1], step sizes tried [G, K+1], validation loss along training [E]."""
    plain: dict[str, Any] = {}
    for arm, result in found.items():
        plain[arm] = {"loss": result.loss.tolist(), "metric": result.metric.tolist()}
        plain[arm] |= {"grid": list(result.grid), "tried": result.validation.mean(1).tolist()}
    for arm, record in records.items():
        assert record.curve is not None
        plain[arm]["training"] = record.curve[..., 0].mean(0).tolist()
        plain[arm]["iterations"] = record.curve_updates
    return plain


@claim(
    "L5",
    says="Contradictory tasks have no joint solution: "
    "nothing that could be recalled serves them, but fast adaptation does.",
    section="meta",
    control=f"joint training on the mixture, {PLENTY} times as many episodes, adapted with its own step size",
    unit="cross-entropy, nats",
    smallest=log(10) / 10,  # a tenth of the ln 10 nats that guessing among ten classes costs
)
def l5(replicas: int) -> Outcome:
    """Loss on new label swaps after one step on five images per class: joint training minus MAML.

    As many steps as MAML trained with. The second world, sinusoids of random sign, is reported.
    """
    rows = grid(min(replicas, 3))
    swapper, swaps = MAML(inner_lr=min(rows, key=lambda row: row["loss"])["inner_lr"]), LabelSwap()
    worlds = {
        "label_swap": arms(swapper, swaps, SWAPS, replicas),
        "flipped sinusoids": arms(MAML(), Sinusoids(flip=True), FLIPS, replicas),
    }
    reported, figures = {}, {}
    for name, (records, found) in worlds.items():
        for arm in ("joint_pretraining", "scratch"):
            for k in (1, 10):
                reported[f"{name}: loss at step {k}, {arm} minus maml"] = _gain(found, arm, k)
        reported |= whole(name, records, found)
        figures[name] = curves(records, found)
    reported["label_swap: accuracy of the nearest class mean"] = nearest_mean(
        swaps, replicas, SWAPS["test_tasks"]
    )
    effect = _gain(worlds["label_swap"][1], "joint_pretraining", swapper.steps)
    return Outcome(effect, reported, {"grid": rows, "guessing": log(10), **figures})


def _gain(found: dict[str, Adaptation], arm: str, k: int) -> np.ndarray:
    return found[arm].loss[:, k] - found["maml"].loss[:, k]
