"""Two of the kit's methods as one: EWC protects the weights while replay rehearses."""

from __future__ import annotations

import numpy as np
import pytest

from clkit.errors import ClkitError
from clkit.gradient.agem import AGEM
from clkit.gradient.ewc import EWC
from clkit.loop import run
from clkit.memory.icarl import ICaRL
from clkit.memory.replay import Replay
from clkit.method import Both, Method
from clkit.metrics import forgetting
from clkit.nets import Mlp
from clkit.streams import Rotated
from clkit.training import Training

SMALL = Training(updates=(40,) * 3, network=Mlp(hidden=(20,)))
STREAM = Rotated(length=3)


def accuracy(method: Method, replicas: int = 3) -> np.ndarray:
    return run(method, STREAM, SMALL, replicas=replicas, progress=False).matrix


def test_switched_off_one_side_leaves_the_other_bit_for_bit() -> None:
    """Both(EWC off, replay) = replay, Both(EWC, replay off) = EWC, in either order; the two together are neither."""
    ewc, replay = accuracy(EWC()), accuracy(Replay())
    for pair in ((EWC(strength=0.0), Replay()), (Replay(), EWC(strength=0.0))):
        np.testing.assert_array_equal(accuracy(Both(first=pair[0], second=pair[1])), replay)
    for pair in ((EWC(), Replay(capacity=0)), (Replay(capacity=0), EWC())):
        np.testing.assert_array_equal(accuracy(Both(first=pair[0], second=pair[1])), ewc)
    together = accuracy(Both(first=EWC(), second=Replay()))
    assert not np.array_equal(together, ewc) and not np.array_equal(together, replay)


def test_bytes_needs_and_verbs_are_united() -> None:
    """The network is counted once: 4P + (EWC's 8P) + (replay's memory)."""
    both, ewc, replay = Both(first=EWC(), second=Replay()), EWC(), Replay()
    kept = [
        run(m, STREAM, SMALL, replicas=2, progress=False).bytes_kept[-1]
        for m in (both, ewc, replay, Method())
    ]
    assert kept[0] == kept[1] + kept[2] - kept[3]
    assert both.needs == ewc.needs | replay.needs
    assert both.verbs() == {"after_step", "end_task", "widen"} | ({"penalty"} & ewc.verbs())
    assert both.bytes_examples() == replay.bytes_examples() > 0


def test_together_they_forget_less_than_each_alone() -> None:
    """On the default stream with a small memory, in every one of three replicas."""
    methods = (Both(first=EWC(), second=Replay(capacity=20)), EWC(), Replay(capacity=20))
    each = [forgetting(run(m, replicas=3, progress=False).matrix) for m in methods]
    assert (each[0] < each[1]).all() and (each[0] < each[2]).all()


def test_two_memories_of_which_one_joins_are_refused() -> None:
    with pytest.raises(ClkitError, match="both keep examples"):
        Both(first=Replay(), second=ICaRL())
    Both(first=Replay(), second=AGEM())  # two memories that do not meet
