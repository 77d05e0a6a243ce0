"""Tag, trigger, consolidation: a synapse that is told by others when to keep (Clopath et al. 2008)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clkit.errors import ClkitError
from clkit.replicas import generator

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Synapses:
    """Synapses of one neuron, each with an early part (its tag) and a late part z, which share one trigger p.

    A tag is high (h = 1), low (l = 1) or absent; it is lost at a constant rate. Of all synapses together,

        tau_p dp/dt = (1 - p) [sum of h + l > threshold] - (tau_p / tau_decay) p
        tau_z dz/dt = z (1 - z) (z - kappa) + gamma (h - l) p

    and the weight is 1 + h - l / 2 + 2 z. Without tags or without trigger z has two stable points, 0 and 1.

    Reference: Clopath et al. (2008), PLoS Comput. Biol. 4(12): e1000248. Equations and constants of tags, trigger
    and late part are those of the authors' program for the paper (ModelDB 118199).
    Departs: the model of the neuron that sets the tags, from spikes and voltage, is replaced by a chance to be
    tagged per stimulus (a minimal variant of ours), and a stimulus takes no time.
    """

    pathway: int = 100  # synapses in each of the two pathways
    high_rate: float = 1 / 3600  # k_h, loss of a high tag, per second
    low_rate: float = 1 / 5400  # k_l, loss of a low tag, per second
    threshold: float = 60  # theta_p, tags that the neuron must count, more than this, to make p
    rise: float = 360  # tau_p, seconds
    decay: float = 3600  # tau_decay, seconds
    slow: float = 360  # tau_z, seconds
    kappa: float = 0.5  # where the two basins of z meet
    gamma: float = 0.1  # how hard a tag pushes z while p = 1
    up: float = 0.3  # share of the synapses that begin at z = 1
    step: float = 10  # seconds of a step of Euler's method


@dataclass(frozen=True)
class Stimulus:
    """At `time`, each untagged synapse of a pathway is tagged with this chance."""

    time: float  # seconds
    pathway: int  # 0 or 1
    chance: float  # of a tag: 0 is no stimulus
    high: bool = True  # potentiation; False: depression


def weak(pathway: int, time: float) -> list[Stimulus]:
    """One short burst: a few tags, too few to make the trigger."""
    return [Stimulus(time, pathway, 0.3)]


def strong(pathway: int, time: float) -> list[Stimulus]:
    """Three long bursts, ten minutes apart: most synapses are tagged."""
    return [Stimulus(time + 600 * burst, pathway, 0.8) for burst in range(3)]


@dataclass(frozen=True)
class Course:
    """What happened, per replica R; S = 2 pathways of synapses, the first pathway first."""

    times: Array  # [E] seconds
    tags: Array  # [R, E, 2] synapses tagged, of each pathway
    trigger: Array  # [R, E] p
    weight: Array  # [R, E, 2] mean weight of each pathway, 1 = before any stimulus
    begun: Array  # [R, S] z at the beginning
    late: Array  # [R, S] z at the end


def simulate(synapses: Synapses, stimuli: Sequence[Stimulus], hours: float, seeds: Sequence[int]) -> Course:
    """All replicas side by side; replica r draws from its own seed alone, the same numbers whatever is stimulated."""
    s, size = synapses, 2 * synapses.pathway
    if any(not 0 <= x.time <= 3600 * hours for x in stimuli):
        raise ClkitError(f"time of a stimulus must lie within the {hours:g} hours that are simulated.")
    steps = round(3600 * hours / s.step)
    z = _start(s, seeds)
    begun, h, low = z, np.zeros_like(z), np.zeros_like(z)
    p, seen = np.zeros(len(seeds)), []
    draws = [generator(seed, "tag lost") for seed in seeds]
    for n in range(steps + 1):
        for i, x in enumerate(stimuli):
            if round(x.time / s.step) == n:
                new = _tagged(s, x, i, seeds) * (1 - h) * (1 - low)
                h, low = (h + new, low) if x.high else (h, low + new)
        seen.append((h + low, p, 1 + h - low / 2 + 2 * z))
        z, p = late_step(s, h, low, z, p), trigger_step(s, h, low, p)
        luck = np.stack([draw.random(size) for draw in draws])
        h, low = h * (luck >= s.step * s.high_rate), low * (luck >= s.step * s.low_rate)
    tags, trigger, weight = (np.stack(part, axis=1) for part in zip(*seen, strict=True))
    weight, tags, first = (part.reshape(*part.shape[:-1], 2, -1) for part in (weight, tags, begun))
    relative = np.asarray(weight.mean(3) / (1 + 2 * first.mean(2))[:, None])
    return Course(
        np.linspace(0, steps * s.step, steps + 1), np.asarray(tags.sum(3)), trigger, relative, begun, z
    )


def consolidated(course: Course, synapses: Synapses, pathway: int) -> Array:
    """[R]: of the synapses of a pathway that began at z = 0, the share that ends in the upper basin."""
    own = slice(pathway * synapses.pathway, (pathway + 1) * synapses.pathway)
    low = course.begun[:, own] < synapses.kappa
    return np.asarray((low & (course.late[:, own] > synapses.kappa)).sum(1) / low.sum(1))


def _start(s: Synapses, seeds: Sequence[int]) -> Array:
    """The same number of synapses at z = 1 in each pathway, which ones by chance: [R, S]."""
    one = np.arange(s.pathway) < round(s.up * s.pathway)
    rows = [[generator(seed, "late part", way).permutation(one) for way in (0, 1)] for seed in seeds]
    return np.asarray(rows, float).reshape(len(seeds), -1)


def _tagged(s: Synapses, x: Stimulus, number: int, seeds: Sequence[int]) -> Array:
    """[R, S]: 1 where the stimulus would set a tag."""
    luck = np.stack([generator(seed, "stimulus", number).random(s.pathway) for seed in seeds])
    hit = np.zeros((len(seeds), 2 * s.pathway))
    hit[:, x.pathway * s.pathway : (x.pathway + 1) * s.pathway] = luck < x.chance
    return hit


def trigger_step(s: Synapses, h: Array, low: Array, p: Array) -> Array:
    """p [R] one step later, from the tags h, low [R, S]."""
    on = (h + low).sum(1) > s.threshold
    return p + s.step * ((1 - p) * on / s.rise - p / s.decay)  # eq: tag-trigger


def late_step(s: Synapses, h: Array, low: Array, z: Array, p: Array) -> Array:
    """z [R, S] one step later, from the tags h, low [R, S] and the trigger p [R]."""
    push = s.gamma * (h - low) * p[:, None]
    return z + s.step / s.slow * (z * (1 - z) * (z - s.kappa) + push)  # eq: tag-late-part
