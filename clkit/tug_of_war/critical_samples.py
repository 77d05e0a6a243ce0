"""Critical samples: examples with another answer of the network close by (Arpit et al. 2017).

The share of them tells how densely the borders between the network's answers lie around the data.
R replicas, N examples, C outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clkit.loop import run
from clkit.method import Method
from clkit.metrics import bands
from clkit.replicas import Draws
from clkit.training import Training
from clkit.tug_of_war.difficulty import Watch
from clkit.tug_of_war.memorization import RandomLabels, Shuffled

RADIUS = 0.1  # of the range of a pixel, in every pixel
STRIDE, NOISE = 0.25, 0.1  # a step of the search, and the deviation of its noise, in radii
LOOKS = (0, 100, 300, 1000, 2000, 4000, 8000, 12_000)  # updates after which we search


def margin(scores: Tensor, answer: Tensor) -> Tensor:
    """The score of the answer minus the highest of the others, scores [R, N, C], answer [R, N] -> [R, N]."""
    own = scores.gather(2, answer[..., None])
    return own[..., 0] - scores.scatter(2, answer[..., None], -torch.inf).amax(2)  # eq: answer-margin


def critical(
    net: nn.Module,
    x: Tensor,  # [R, N, ...]
    draws: Draws,  # of the starts and the noise
    *,
    radius: float = RADIUS,  # r: no input may move further than this
    steps: int = 10,
    starts: int = 3,
) -> Tensor:
    """True where an input with another answer than x has was found within `radius` of x, [R, N].

    From x itself, and then from points drawn in its neighbourhood, we walk down the margin by the sign of its
    gradient; these other walks are noisy. What is not found may still exist, so the share is a lower bound.

    Departs from Arpit et al. (2017): they walk by the gradient of one output and take a Langevin walk all along;
    ours begins with a walk without noise, which misses nothing where the network is linear and has two outputs.
    """
    with torch.no_grad():
        answer = net(x).argmax(2)
    found = torch.zeros_like(answer, dtype=torch.bool)
    for start in range(starts):
        away = torch.zeros_like(x)
        if start:
            away = radius * (2 * draws.uniform("critical start", x.shape[1:], counter=start).to(x) - 1)
        for step in range(steps):
            here = (x + away).requires_grad_()
            left = margin(net(here), answer)
            (slope,) = torch.autograd.grad(left.sum(), here)
            found |= left < 0
            away = away - STRIDE * radius * slope.sign()
            if start:
                counter = start * steps + step
                away += NOISE * radius * draws.normal("critical noise", x.shape[1:], counter=counter).to(x)
            away = away.clamp(-radius, radius)
        with torch.no_grad():
            found |= margin(net(x + away), answer) < 0  # eq: critical-sample
    return found


def along_training(replicas: int, looks: tuple[int, ...] = LOOKS) -> dict[str, Any]:
    """Share of the test images that are critical, and of the training examples that are right, after `looks` updates.

    Networks that learn the digits, and networks that learn random labels of the same images.
    """
    found: dict[str, Any] = {"updates": list(looks)}
    for guise in (Shuffled(), RandomLabels()):
        ratios, watch = list[np.ndarray](), Watch(guise)

        def look(method: Method, at: int, ratios: list[np.ndarray] = ratios, watch: Watch = watch) -> None:
            if at not in looks:
                return
            watch(method, at)
            test = watch.stream.audit(method.draws)[0].test
            (x, _, _), *_ = test.chunks(max(test.sizes))
            ratios.append(critical(method.net, x, method.draws).double().mean(1).cpu().numpy())

        training = Training(updates=(looks[-1],), every=100)
        run(Method(), guise, training, replicas=replicas, progress=False, observe=look)
        found[guise.name] = {
            "critical": bands(np.stack(ratios, 1)),
            "right": bands(watch.right.mean(2)),
        }
    return found
