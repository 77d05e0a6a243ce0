"""SelfieBoost: boosting one network against its own past (Shalev-Shwartz 2014).

Labels y are -1 or 1, a network gives a score, and the margin of an example is y times its score. R replicas, N
examples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clkit.data import load
from clkit.metrics import bands, first_reaching
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import scenario


def potential(margin: Tensor) -> Tensor:
    """Z = mean of exp(-margin), [R, N] -> [R]; the share of wrong answers is never larger."""
    return (-margin).exp().mean(-1)  # eq: boost-potential


def distribution(margin: Tensor, clip: float = math.inf) -> Tensor:
    """D, proportional to exp(-margin), sums to 1: how much each example counts in the next round, [R, N].

    Margins beyond `clip` count as `clip`: then no example counts more than exp(2 clip) times another.
    """
    return (-margin.clamp(-clip, clip)).softmax(-1)  # eq: boost-distribution


def step_loss(old: Tensor, new: Tensor, y: Tensor) -> Tensor:
    """a + a^2 / 2 with a = y (old - new), for scores old and new: what a round minimises, mean over D."""
    a = y * (old - new)
    return a + a.square() / 2  # eq: boost-loss


def edge(old: Tensor, new: Tensor, y: Tensor, clip: float = math.inf) -> Tensor:
    """Mean of `step_loss` under D, [R]; a round is accepted where it is below -rho."""
    return (distribution(y * old, clip) * step_loss(old, new, y)).sum(-1)  # eq: boost-edge


def bound(old: Tensor, new: Tensor, y: Tensor) -> Tensor:
    """1 + sum of D (a + a^2), [R]: no less than Z_new / Z_old where no a exceeds 1, since e^a <= 1 + a + a^2."""
    a = y * (old - new)
    return 1 + (distribution(y * old) * (a + a.square())).sum(-1)  # eq: boost-bound


@dataclass(frozen=True, kw_only=True)
class Boosting:
    """Settings of a run. Departs: the factor 1/2 and the range of rho are not checked against the paper."""

    rounds: int = 8  # each of `steps` updates, for the control too
    steps: int = 150  # updates of a round; a network that fails the test goes on with another round of them
    batch: int = 32
    lr: float = 0.05
    rho: float = 0.1  # edge that a round must show to be accepted
    hidden: int = 50
    noise: float = 0.0  # share of the training labels that are drawn anew, each of the two equally likely
    clip: float = math.inf  # of the margins in D


RATES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # step sizes of the comparison
NOISE = 0.2  # a fifth of the labels, of which half come out right again
CLIP = 1.0  # ours: a tenth of the labels wrong, each e^2 times as often, would be 45 % of all that is drawn


def halves(draws: Draws, noise: float = 0.0) -> dict[str, tuple[Tensor, Tensor]]:
    """train, validation, test: images [R, N, 8, 8] and y [R, N], 1 for the digits 5 to 9, -1 for 0 to 4.

    A share `noise` of the training labels is drawn anew; the others stay right.
    """
    data, found = load("digits"), {}
    for which in ("train", "validation", "test"):
        rows = getattr(data, which)
        x, y = data.x[rows].to(draws.dtype), torch.where(data.y[rows] >= 5, 1.0, -1.0).to(draws.dtype)
        found[which] = (x.expand(draws.replicas, *x.shape), y.expand(draws.replicas, -1))
    x, y = found["train"]
    chosen, coin = draws.uniform("label noise", (2, y.shape[1])).unbind(1)
    found["train"] = (x, torch.where(chosen < noise, torch.where(coin < 0.5, 1.0, -1.0).to(y.dtype), y))
    return found


def network(settings: Boosting, draws: Draws) -> nn.Module:
    """One hidden layer, one score."""
    return Build(Mlp(hidden=(settings.hidden,)), (8, 8), scenario("domain", (1,)), draws)()


def boost(settings: Boosting, draws: Draws) -> dict[str, np.ndarray]:
    """SelfieBoost round by round, arrays [R, rounds]; errors [R, rounds + 1], of the accepted network.

    Keys: train, validation, test (errors), log_potential [R, rounds + 1]; edge, ratio, bound, largest (a), accepted,
    wrong (share of D on labels that are wrong, in the round) and dead (the trained copy) [R, rounds].
    """
    data, net = halves(draws, settings.noise), network(settings, draws)
    x, y = data["train"]
    astray = y != halves(draws)["train"][1]
    accepted = {part: _scores(net, images) for part, (images, _) in data.items()}
    old = accepted["train"]
    log, rounds = [(*_errors(accepted, data), potential(y * old).log())], []
    for number in range(settings.rounds):
        _train(net, settings, draws, number, x, y, old)
        copy = {part: _scores(net, images) for part, (images, _) in data.items()}
        new, gain = copy["train"], edge(old, copy["train"], y, settings.clip)
        good = gain < -settings.rho  # eq: boost-acceptance
        ratio, largest = potential(y * new) / potential(y * old), (y * (old - new)).amax(-1)
        wrong = (distribution(y * old, settings.clip) * astray).sum(-1)
        rounds.append((gain, ratio, bound(old, new, y), largest, good, wrong, _dead(new)))
        accepted = {part: torch.where(good[:, None], copy[part], accepted[part]) for part in data}
        old = accepted["train"]
        log.append((*_errors(accepted, data), potential(y * old).log()))
    each = ("edge", "ratio", "bound", "largest", "accepted", "wrong", "dead")
    return _table((*data, "log_potential"), log) | _table(each, rounds)


def plain(settings: Boosting, draws: Draws) -> dict[str, np.ndarray]:
    """The control: the logistic loss, all examples alike, as many updates; errors and dead [R, rounds + 1]."""
    data, net, log = halves(draws, settings.noise), network(settings, draws), []
    for number in range(settings.rounds + 1):
        if number:
            _train(net, settings, draws, number - 1, *data["train"], None)
        found = {part: _scores(net, images) for part, (images, _) in data.items()}
        log.append((*_errors(found, data), _dead(found["train"])))
    return _table((*data, "dead"), log)


def _train(
    net: nn.Module, settings: Boosting, draws: Draws, number: int, x: Tensor, y: Tensor, old: Tensor | None
) -> None:
    """One round of updates: against the scores `old` [R, N], or plain."""
    optimizer = torch.optim.SGD(net.parameters(), lr=settings.lr)
    chance = draws.uniform("boost", (settings.steps * settings.batch,), counter=number)
    share = distribution(y * (old if old is not None else 0), settings.clip)  # plain: all alike
    drawn = torch.searchsorted(share.double().cumsum(1), chance).clamp(max=y.shape[1] - 1)
    replica = torch.arange(draws.replicas)[:, None]
    for index in drawn.split(settings.batch, dim=1):
        score, label = net(x[replica, index])[..., 0], y.gather(1, index)
        each = F.softplus(-label * score) if old is None else step_loss(old.gather(1, index), score, label)
        optimizer.zero_grad()
        each.mean(1).sum().backward()
        optimizer.step()


@torch.no_grad()
def _scores(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)[..., 0]


def _errors(scores: dict[str, Tensor], data: dict[str, tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Share of wrong answers [R] in each part of the data; a score that is no number is wrong."""
    return [(~(data[part][1] * score > 0)).double().mean(-1) for part, score in scores.items()]


def _dead(scores: Tensor) -> Tensor:
    """Have all examples the same score, or one none? [R, N] -> [R]: steps that were too large end so."""
    return ~(scores.amax(-1) > scores.amin(-1))


def _table(names: tuple[str, ...], rows: Sequence[tuple[Tensor, ...]]) -> dict[str, np.ndarray]:
    return {
        name: torch.stack(column, 1).double().numpy()
        for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def boosting(replicas: int, settings: Boosting = Boosting()) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """SelfieBoost against plain training, at every step size, with right labels and with wrong: curves, reported.

    The curves are those of the first step size.
    """
    runs = sweep(settings, Draws(tuple(range(replicas))))
    own, control = (runs[arm][RATES[0]] for arm in ("SelfieBoost", "plain"))
    each = ("edge", "ratio", "bound", "largest", "accepted")
    curves = {
        "SelfieBoost": {k: bands(own[k]) for k in ("train", "test", "log_potential", *each)},
        "plain, same step size": {k: bands(control[k]) for k in ("train", "test")},
    }
    small, kept = own["largest"] <= 1, own["ratio"] <= own["bound"] + 1e-6
    reported = {
        "boosting, rounds accepted": own["accepted"].sum(1),
        "boosting, rounds where the bound applies": small.sum(1).astype(float),
        "boosting, of these, bound kept": (small & kept).sum(1).astype(float),
    }
    for arm, at in runs.items():
        for lr, found in at.items():
            where = f"step size {lr:g}: {arm}"
            for part in ("train", "validation", "test"):
                reported[f"boosting, {part} error at the end, {where}"] = found[part][:, -1]
            reported[f"boosting, dead at the end, {where}"] = found["dead"][:, -1]
            if "wrong" in found and found["wrong"].any():
                reported[f"boosting, wrong labels drawn in the last round, {where}"] = found["wrong"][:, -1]
    return curves, reported | _at_the_best(runs)


def sweep(settings: Boosting, draws: Draws) -> dict[str, dict[float, dict[str, np.ndarray]]]:
    """SelfieBoost and plain training at every step size; with wrong labels, SelfieBoost with clipped margins too."""
    noisy = replace(settings, noise=NOISE)
    arms = {
        "SelfieBoost": (boost, settings),
        "plain": (plain, settings),
        "SelfieBoost, a fifth random labels": (boost, noisy),
        "SelfieBoost clipped, a fifth random labels": (boost, replace(noisy, clip=CLIP)),
        "plain, a fifth random labels": (plain, noisy),
    }
    return {
        arm: {lr: learn(replace(own, lr=lr), draws) for lr in RATES} for arm, (learn, own) in arms.items()
    }


def _at_the_best(runs: dict[str, dict[float, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Each arm at the step size with the smallest mean *validation* error at the end: SelfieBoost minus plain, [R].

    That step size (of equal ones the smallest), and the difference of the test errors. And, with right labels, the
    rounds [R] to the test error that plain training ends with, plus half a point; all where an arm never gets there.
    """
    found, errors = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for arm, at in runs.items():
        lr = min(at, key=lambda lr: at[lr]["validation"][:, -1].mean())
        errors[arm] = at[lr]["test"]
        found[f"boosting, step size chosen: {arm}"] = np.full(len(errors[arm]), lr)
    for arm, error in errors.items():
        if arm.startswith("SelfieBoost"):
            control = errors["plain, a fifth random labels" if "labels" in arm else "plain"]
            name = f"boosting, test error, each at its chosen step size: {arm} minus plain"
            found[name] = (error - control)[:, -1]
    target = errors["plain"][:, -1] + 0.005
    for arm in ("SelfieBoost", "plain"):
        rounds = np.arange(errors[arm].shape[1])
        reached = first_reaching(rounds, -errors[arm], -target)
        found[f"boosting, rounds to the target: {arm}"] = np.minimum(reached, rounds[-1])
        found[f"boosting, target reached: {arm}"] = np.isfinite(reached).astype(float)
    return found
