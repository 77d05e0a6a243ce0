"""What a run leaves: accuracies of every replica, what it kept and what it cost."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clkit.errors import ClkitError
from clkit.files import write_text

SCHEMA = 2
ARRAYS = ("accuracy", "curve", "by_step")  # fields of Record with the replicas in front
COSTS = (
    "interactions",
    "bytes_kept",
    "bytes_examples",
    "bytes_data",
    "flops",
    "flops_plain",
)  # of the largest replica


def versions() -> dict[str, str]:
    """Of what computed the numbers."""
    names = ("clkit", "torch", "numpy", "scipy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


@dataclass
class Record:
    """One run over R replicas. Arrays are numpy, fractions; lists have one entry per task."""

    method: str
    settings: dict[str, Any]  # method, stream, training: enough to repeat the run
    seeds: list[int]
    stream: str
    scenario: str | None = None
    needs: list[str] = field(default_factory=list)
    accuracy: np.ndarray | None = None  # [R, T+1, T]: on task j after i tasks; row 0 before training
    foresees: bool = True  # False: entries j > i are zero by convention (class-incremental)
    curve_updates: list[int] = field(default_factory=list)  # [E] updates done at each point of the curve
    curve: np.ndarray | None = None  # [R, E, T] accuracy on every task along training
    metric: str = "accuracy"  # of by_step
    by_step: np.ndarray | None = None  # [R, K+1] after 0..K inner steps, episodic learners only
    updates: list[int] = field(default_factory=list)
    interactions: list[int] = field(default_factory=list)  # past (expected) or stored examples met in updates
    bytes_kept: list[int] = field(default_factory=list)  # per replica, after each task, network included
    bytes_examples: list[int] = field(default_factory=list)  # of these, stored examples
    bytes_data: list[int] = field(default_factory=list)  # training data seen so far
    flops: list[int] = field(default_factory=list)  # per replica, training and boundaries of each task
    flops_plain: list[int] = field(default_factory=list)  # one forward and backward pass per example
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=versions)
    schema: int = SCHEMA

    @property
    def matrix(self) -> np.ndarray:
        """The accuracy matrix [R, T+1, T] of a run on a stream."""
        if self.accuracy is None:
            raise ClkitError(f"{self.method} has no accuracy matrix: it learns episodes. Look at by_step.")
        return self.accuracy

    def save(self, path: str | Path) -> Path:
        """Write as JSON, whole or not at all."""
        return write_text(path, json.dumps(self.to_json()) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, every field."""
        plain = asdict(self)
        return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in plain.items()}

    @classmethod
    def load(cls, path: str | Path) -> Record:
        """Read what `save` wrote.

        Raises:
            ClkitError: no such file, not a record, or a record of another schema.
        """
        try:
            plain = json.loads(Path(path).read_text())
            schema = plain["schema"]
            known: dict[str, Any] = {f.name: plain[f.name] for f in fields(cls) if schema == SCHEMA}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClkitError(
                f"{path} is no record that can be read ({error!r}). Remove it, then run it again."
            ) from None
        if schema != SCHEMA:
            raise ClkitError(f"{path} has schema {schema}, this clkit reads {SCHEMA}. Run it again.")
        known |= {k: np.array(known[k]) for k in ARRAYS if known[k] is not None}
        return cls(**known)

    def to_frame(self) -> pd.DataFrame:
        """One row per replica, row of the accuracy matrix and task: seed, after, task, accuracy."""
        if self.accuracy is None:
            values, names = self.by_step, ["seed", "step"]
        else:
            values, names = self.accuracy, ["seed", "after", "task"]
        assert values is not None
        index = pd.MultiIndex.from_product([self.seeds, *map(range, values.shape[1:])], names=names)
        return pd.DataFrame({self.metric: values.ravel()}, index=index).reset_index()


def concatenate(records: list[Record]) -> Record:
    """Records of the same run over different seeds, as one."""
    first = records[0]
    if len(records) == 1:
        return first

    def stack(name: str) -> np.ndarray | None:
        parts = [getattr(record, name) for record in records]
        return None if parts[0] is None else np.concatenate(parts)

    plain: dict[str, Any] = {f.name: getattr(first, f.name) for f in fields(first)}
    plain |= {name: stack(name) for name in ARRAYS}
    plain |= {
        name: [max(c) for c in zip(*(getattr(r, name) for r in records), strict=True)] for name in COSTS
    }
    plain["seeds"] = [seed for record in records for seed in record.seeds]
    plain["seconds"] = sum(record.seconds for record in records)
    return Record(**plain)
