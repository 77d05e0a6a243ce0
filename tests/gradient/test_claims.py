"""The claims' instruments, and the settings that the stored grids chose."""

import torch

from clkit.claims import stored
from clkit.gradient.agem import AGEM
from clkit.gradient.claims import Gauge, best
from clkit.gradient.ewc import EWC
from clkit.gradient.online_ewc import OnlineEWC
from clkit.loop import run
from clkit.method import Method
from clkit.streams import Rotated


def test_gauge_changes_no_bit_and_sees_the_projection():
    """With the projection no update opposes the memory afterwards; without it the two looks agree."""
    stream = Rotated(limit=(200,) * 3, length=3)
    for acts, plain in ((True, AGEM()), (False, Method())):
        gauge = Gauge(stream, 2, acts=acts)
        run(gauge.method, stream, gauge.training, replicas=2, progress=False)
        run(plain, stream, replicas=2, progress=False)
        assert all(
            torch.equal(a, b) for a, b in zip(gauge.method.parameters(), plain.parameters(), strict=True)
        )
        memory, held_out = gauge.share()
        assert (memory[0] > 0.1).all() and (held_out[0] > 0).all()
        assert (memory[1] == (0 if acts else memory[0])).all()
        assert acts or (held_out[1] == held_out[0]).all()


def test_no_setting_of_the_stored_grids_is_better_than_the_defaults():
    """By validation accuracy on the first three tasks, never by test data; half a point is noise."""
    grids = {**stored("G1")["curves"]["grid"], **stored("G3")["curves"]["grid"]}
    defaults = {
        "ewc": {"strength": EWC().strength},
        "online_ewc": {"strength": OnlineEWC().strength, "decay": OnlineEWC().decay},
        "agem": {"batch": AGEM().batch},
    }
    for name, settings in defaults.items():
        (chosen,) = (row for row in grids[name] if settings.items() <= row.items())
        assert chosen["accuracy"] > best(grids[name])["accuracy"] - 0.005
