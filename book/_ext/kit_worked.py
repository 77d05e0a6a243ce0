"""The numbers of the page on conventions: small enough to work by hand, computed by the package at build time."""

from __future__ import annotations

import numpy as np
import torch
from kit_markdown import table
from scipy.special import stdtrit

from clkit import desiderata, importance, metrics, tables
from clkit.claims import Claim, stored
from clkit.examples import Examples, Part, Task
from clkit.method import cross_entropy, weighted_mean
from clkit.nets import Build, Mlp
from clkit.replicas import Draws
from clkit.scenario import DomainIncremental, scenario

ACCURACY = np.array([[[0.1, 0.1, 0.2], [0.8, 0.3, 0.3], [0.9, 0.9, 0.6], [0.6, 0.7, 0.8]]])  # [1, T+1, T]
JOINT = np.array([[[0.1, 0.1, 0.2], [0.8, 0.3, 0.3], [0.84, 0.9, 0.6], [0.86, 0.9, 0.94]]])
PAIR = np.array([0.7, 0.8, 0.9]), np.array([0.68, 0.77, 0.89])  # average accuracy of two methods, [R]


def number(value: float, digits: int = 1) -> str:
    """With a true minus sign."""
    return f"{value + 0.0:.{digits}f}".replace("-", "−")


def numbers(what: str, unit: str, values: dict[str, float], factor: float = 100.0, digits: int = 1) -> str:
    """A table with a name and a number in each row."""
    rows = [(name, number(factor * float(np.squeeze(value)), digits)) for name, value in values.items()]
    return table((what, unit), rows, "---:")


def matrix() -> str:
    """The accuracy matrix of all examples."""
    lines = [
        [f"after {i} task{'s' * (i != 1)}", *(f"{100 * a:.0f}" for a in row)]
        for i, row in enumerate(ACCURACY[0])
    ]
    return table(("$A_{i,j}$, %", "task 1", "task 2", "task 3"), lines, "---:")


def forgetting() -> str:
    """Two forms of what was lost."""
    values = {
        "forgetting, from the best accuracy so far (ours)": metrics.forgetting(ACCURACY),
        "minus backward transfer, from the accuracy just after learning": -metrics.backward_transfer(
            ACCURACY
        ),
    }
    return numbers("what was lost", "points", values)


def forward_transfer() -> str:
    """Forms of forward transfer."""
    bare, guessed, length = ACCURACY.copy(), ACCURACY.copy(), ACCURACY.shape[2]
    bare[:, 0], guessed[:, 0] = 0.0, 0.1
    values = {
        "$T-1$ tasks, less row 0 (ours)": metrics.forward_transfer(ACCURACY),
        "the same sum divided by $T$": metrics.forward_transfer(ACCURACY) * (length - 1) / length,
        "$T-1$ tasks, less guessing (10 %)": metrics.forward_transfer(guessed),
        "$T-1$ tasks, nothing subtracted": metrics.forward_transfer(bare),
        "all entries above the diagonal, nothing subtracted": desiderata.forward_transfer_throughout(
            ACCURACY
        ),
    }
    return numbers("forward transfer", "points", values)


def average() -> str:
    """Forms of the average."""
    values = {
        "average accuracy, the last row (ours)": metrics.average_accuracy(ACCURACY),
        "all entries on and below the diagonal": desiderata.accuracy_throughout(ACCURACY),
        "learned accuracy, the diagonal (ours, a measure of its own)": metrics.learned(ACCURACY),
    }
    return numbers("what is averaged", "%", values)


def backward_transfer() -> str:
    """Forms of backward transfer."""
    values = {
        "backward transfer, the last row less the diagonal (ours)": metrics.backward_transfer(ACCURACY),
        "all entries below the diagonal, less the diagonal": desiderata.backward_transfer_throughout(
            ACCURACY
        ),
        "its positive part": desiderata.positive_backward_transfer(ACCURACY),
        "remembering, 100 % less its negative part": desiderata.remembering(ACCURACY),
    }
    return numbers("backward transfer", "points", values)


def joint_accuracies() -> str:
    """The reference accuracies, and what they are compared with."""
    rows = {
        "learned: task $t$ after task $t$": np.diagonal(ACCURACY[0, 1:]),
        "joint on tasks $1..t$, on task $t$": np.diagonal(JOINT[0, 1:]),
        "joint on all tasks, on task $t$": JOINT[0, -1],
    }
    lines = [[name, *(f"{100 * a:.0f}" for a in row)] for name, row in rows.items()]
    return table(("accuracy, %", "task 1", "task 2", "task 3"), lines, "---:")


def intransigence() -> str:
    """Two references: joint training on what there is so far (the diagonal), or on everything (the last row)."""
    everything = JOINT.copy()
    np.fill_diagonal(everything[0, 1:], JOINT[0, -1])
    values = {
        "reference trained on tasks $1..t$ together (ours)": metrics.intransigence(ACCURACY, JOINT),
        "reference trained on all $T$ tasks together": metrics.intransigence(ACCURACY, everything),
    }
    return numbers("intransigence", "points", values)


def outputs() -> str:
    """One example of task 1, class 1, and the scores of its four outputs: who answers?"""
    scores = torch.tensor([[[2.0, 1.0, 3.0, 0.0]]])
    cases = {"task-incremental": ("task", 1), "class-incremental, after task 1": ("class", 0)}
    cases["class-incremental, after task 2"] = ("class", 1)
    lines = []
    for words, (name, newest) in cases.items():
        task = 0 if name == "task" else newest
        mask = scenario(name, (2, 2)).outputs(torch.tensor([[0]]), task)
        answer = int(scores.masked_fill(~mask, -torch.inf).argmax()) + 1
        competing = ", ".join(str(c + 1) for c in mask[0, 0].nonzero().flatten().tolist())
        lines.append([words, competing, str(answer), "right" if answer == 1 else "wrong"])
    return table(("scenario", "outputs that compete", "answer", "verdict"), lines, "---:")


def measured() -> str:
    """Fine-tuning on five streams, from the stored result of a claim."""
    reported, lines = stored("T1")["reported"], []
    for stream in ("rotated, domain", "permuted, domain", "split, task", "split, domain", "split, class"):
        label, shown = f"fine_tuning on {stream}-incremental", []
        for name in ("average accuracy", "forgetting", "backward transfer", "forward transfer"):
            ends = [reported[f"{name}: {label}"][end] for end in ("mean", "low", "high")]
            mean, low, high = (np.nan if end is None else end for end in ends)
            flip = name == "backward transfer"
            value = metrics.Interval(-mean, -high, -low) if flip else metrics.Interval(mean, low, high)
            shown.append(tables.percent(value, ""))
        lines.append([f"{stream}-incremental", *shown])
    head = ("stream", "average accuracy, %", "forgetting", "minus backward transfer", "forward transfer")
    return table(head, lines, "---:")


def fisher() -> str:
    """Softmax regression with two classes: the importance of the first bias by four estimators."""
    found = [_fishers(0.9, [0] * 9 + [1]), _fishers(0.99, [0] * 10)]
    lines = [[name, *(f"{part[name]:.4f}" for part in found)] for name in found[0]]
    return table(("estimator", "$p = 0.9$, nine of ten right", "$p = 0.99$, all right"), lines, "---:")


def _fishers(p: float, labels: list[int]) -> dict[str, float]:
    rule, draws, n = DomainIncremental((2,)), Draws(tuple(range(1000)), dtype=torch.float64), len(labels)
    net = Build(Mlp(hidden=()), (1,), rule, draws)()
    with torch.no_grad():
        net.head.linear.weight.zero_()
        net.head.linear.bias.copy_(torch.tensor([p, 1 - p]).log().expand_as(net.head.linear.bias))
    index, y = (part.expand(1000, -1) for part in (torch.arange(n), torch.tensor(labels)))
    train = Examples([Part(torch.ones(n, 1), index, y, (n,) * 1000, 0)], torch.float64)
    task, batch = Task(0, range(2), train, train, updates=1, batch=n), next(train.batches(index, n, rule, 0))
    estimators = (importance.exact_fisher, importance.empirical_fisher, importance.sampled_fisher)
    exact, empirical, sampled = (f(net, task, rule, draws)[1][:, 0, 0] for f in estimators)
    slope = torch.autograd.grad(cross_entropy(net(batch.x), batch).sum(), net.head.linear.bias)[0]
    return {
        "exact (ours): all answers, weighted by the model": float(exact[0]),
        "sampled: one answer per example, drawn from the model": float(sampled[0]),
        "the same, mean of 1000 replicas": float(sampled.mean()),
        "empirical: the true label": float(empirical[0]),
        "none of these: the mean gradient, squared": float(slope[0, 0, 0] ** 2),
    }


def replay() -> str:
    """32 new examples with loss 1, 8 rehearsed ones with loss 0.2."""
    each = torch.cat([torch.full((1, 32), 1.0), torch.full((1, 8), 0.2)], dim=1).double()
    new, old = (weighted_mean(part, torch.ones_like(part)) for part in (each[:, :32], each[:, 32:]))
    values = {
        "mean over the widened batch (ours)": float(weighted_mean(each, torch.ones_like(each))),
        "mean of the two means": float(new + old) / 2,
        "sum of the two means": float(new + old),
    }
    return numbers("what a step minimises", "loss", values, 1.0, 2)


def intervals() -> str:
    """Three replicas of two methods: paired, unpaired, and with the normal distribution's 1.96."""
    first, second = PAIR
    gap = metrics.difference(first, second)
    sides = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / len(first))
    halves = {
        "paired, $t$ with $R-1 = 2$ degrees of freedom (ours)": gap.high - gap.mean,
        "paired, 1.96 instead of $t$": 1.96 * (first - second).std(ddof=1) / np.sqrt(len(first)),
        "unpaired, $t$ with $2R-2 = 4$ degrees of freedom": stdtrit(2 * len(first) - 2, 0.975) * sides,
    }
    lines = [[name, f"{number(100 * gap.mean)} ± {number(100 * half)}"] for name, half in halves.items()]
    return table(("interval of the difference", "percentage points"), lines, "---:")


def verdicts() -> str:
    """Three replicas each, smallest effect of interest 5 points."""
    claim = Claim("", "", "", "", "", 0.05, False, lambda replicas: None)
    lines = []
    for effects in ([0.09, 0.10, 0.11], [0.04, 0.10, 0.16], [0.03, 0.03, 0.04]):
        low, high = metrics.interval(effects)[1:]
        shown = ", ".join(f"{100 * e:.0f}" for e in effects)
        ends = f"{number(100 * low)} to {number(100 * high)}"
        lines.append([shown, ends, claim.verdict(np.array(effects))])
    return table(("effects of three replicas, points", "95 % interval", "verdict"), lines, "---:")


def digits() -> str:
    """Means and half intervals, as the book shows them."""
    lines = []
    for mean, half in ((0.57139, 0.0043), (0.57139, 0.021), (0.57139, 0.096), (0.57139, 0.0)):
        shown = tables.percent(metrics.Interval(mean, mean - half, mean + half))
        lines.append([f"{100 * mean:.3f}", f"{100 * half:.2f}", shown])
    return table(("mean, %", "half of the interval", "shown"), lines, "---:")


TABLES = {
    make.__name__: make
    for make in (
        *(matrix, average, forgetting, backward_transfer, forward_transfer, joint_accuracies, intransigence),
        *(fisher, outputs, measured, replay, intervals, verdicts, digits),
    )
}
