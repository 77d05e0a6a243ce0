"""Forgetting against the similarity of the next task: the same digits, turned by an angle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from clkit.examples import TaskData
from clkit.loop import run
from clkit.method import Method
from clkit.metrics import forgetting, interval
from clkit.record import Record
from clkit.streams import Rotated
from clkit.training import Training


def turned(angle: float, training: Training, dataset: str = "digits", **how: object) -> Record:
    """Fine-tuning on upright digits, then on digits turned by `angle` degrees; `how` goes to `clkit.run`."""
    stream = Rotated(dataset=dataset, length=2, degrees=angle)
    return run(Method(), stream, training, progress=False, **how)  # type: ignore[arg-type]


def measured(
    angles: Sequence[float], training: Training, dataset: str = "digits", **how: object
) -> dict[tuple[float, str], np.ndarray]:
    """Fractions [R] by angle and measure; replica r starts from the same weights at every angle.

    Measures: what of task 1 is forgotten once task 2 is trained, and the accuracy on task 2 before it is trained,
    which says how similar the tasks are for this network.
    """
    found: dict[tuple[float, str], np.ndarray] = {}
    for angle in angles:
        accuracy = turned(angle, training, dataset, **how).matrix
        found[angle, "forgetting of task 1"] = forgetting(accuracy)
        found[angle, "accuracy on task 2"] = accuracy[:, 1, 1]
    return found


def table(found: Mapping[tuple[float, str], np.ndarray]) -> pd.DataFrame:
    """In percent or points, a row for each angle and measure: `angle`, `measure`, `mean`, `low`, `high`."""
    rows = [(*key, *_percent(values)) for key, values in found.items()]
    return pd.DataFrame(rows, columns=["angle", "measure", "mean", "low", "high"])


def by_digit(
    angles: Sequence[float], training: Training, dataset: str = "digits", **how: object
) -> pd.DataFrame:
    """In percent, a row for each angle and digit: accuracy on the upright test images of that digit in the end."""
    rows: list[tuple[object, ...]] = []
    for angle in angles:
        stream, method = Rotated(dataset=dataset, length=2, degrees=angle), Method()
        run(method, stream, training, progress=False, **how)  # type: ignore[arg-type]
        found = right_by_class(method.predict, stream.audit(method.draws)[0], stream.sizes()[0])
        rows += [(angle, digit, *_percent(found[:, digit])) for digit in range(found.shape[1])]
    return pd.DataFrame(rows, columns=["angle", "digit", "mean", "low", "high"])


@torch.no_grad()
def right_by_class(
    predict: Callable[[torch.Tensor], torch.Tensor], data: TaskData, classes: int
) -> np.ndarray:
    """The share [R, classes] of each class's test examples that are answered right."""
    right, count = list[torch.Tensor](), list[torch.Tensor]()
    for x, y, valid in data.test.chunks(512):
        own = torch.nn.functional.one_hot(y, classes) * valid[..., None]  # [R, b, classes]
        right.append((own * (predict(x).argmax(-1) == y)[..., None]).sum(1))
        count.append(own.sum(1))
    return (torch.stack(right).sum(0) / torch.stack(count).sum(0)).double().cpu().numpy()


def _percent(values: np.ndarray) -> list[float]:
    return [float("nan") if end is None else 100 * end for end in interval(values)]
