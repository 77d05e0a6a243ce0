"""clkit: continual learning methods, each true to its paper, every result over many seeds.

Names are imported when first used, so that `import clkit` itself is light.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "Batch": "examples",
    "Examples": "examples",
    "Task": "examples",
    "Method": "method",
    "Both": "method",
    "Beats": "method",
    "Convnet": "nets",
    "Custom": "nets",
    "Draws": "replicas",
    "Mlp": "nets",
    "Record": "record",
    "UnfitError": "errors",
    "run_meta": "learner",
    "Schedule": "schedule",
    "Training": "loop",
    "run": "loop",
    "Permuted": "streams",
    "Rotated": "streams",
    "Split": "streams",
    "from_arrays": "streams",
    "Replicas": "replicas",
    "check": "exercise",
    "check_method": "contract",
    "ClkitError": "errors",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clkit' has no attribute {name!r}")
    return getattr(import_module(f"clkit.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
