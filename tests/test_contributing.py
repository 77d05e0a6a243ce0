"""The example of CONTRIBUTING.md is real: it passes the contract, and it does what its equation says."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

import clkit

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's example as a module, so that its class can be pickled like any reader's."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)[1]
    path = tmp_path / "contributed.py"
    path.write_text(code)
    spec = importlib.util.spec_from_file_location("contributed", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "contributed", module)
    spec.loader.exec_module(module)
    return module


def test_is_short(example: ModuleType) -> None:
    lines = Path(example.__file__).read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 30


def test_passes_the_contract(example: ModuleType) -> None:
    clkit.check_method(example.PullToStart)


def test_pull_by_hand(example: ModuleType) -> None:
    # w = 3, w_0 = 1, k lr = 2 * 0.5 = 1: the minimum of |v - 3|^2 / 2 + |v - 1|^2 / 2 is v = 2
    method = example.PullToStart(strength=2.0)
    weight = torch.nn.Parameter(torch.full((1, 1), 3.0))
    method.net = torch.nn.ParameterList([weight])
    method.initial, method.lr = [torch.ones(1, 1)], 0.5
    method.after_step(None)
    assert weight.item() == 2.0
    assert method.bytes_kept() == 8
