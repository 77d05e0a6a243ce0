"""The contract, generated for every method of the catalogue, and the proof that each check can fail."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clkit import catalogue, contract
from clkit.contract import ContractError, check_method
from clkit.examples import Batch, Task
from clkit.learner import Learner
from clkit.memory.replay import Replay
from clkit.meta.maml import MAML
from clkit.method import Method, stored_bytes, weighted_mean

ROOT = Path(__file__).parents[1]
METHODS = {name: cls for name, cls in catalogue.methods().items() if issubclass(cls, Method)}


class SummedBinaryCrossEntropy(Method):
    """What iCaRL is without memory and distillation: one-hot targets for every output seen so far."""

    def begin_task(self, task: Task) -> None:
        self.seen = task.classes.stop

    def loss(self, batch: Batch) -> Tensor:
        scores = self.net(batch.x)[..., : self.seen]
        labels = F.one_hot(batch.y, self.seen).to(scores.dtype)
        each = F.binary_cross_entropy_with_logits(scores, labels, reduction="none").sum(-1)
        return weighted_mean(each, batch.weight)


REFERENCES = {"summed_binary_cross_entropy": SummedBinaryCrossEntropy}


@pytest.mark.parametrize("name", METHODS)
def test_off_equals_what_it_names(name: str) -> None:
    """Part 1: bit for bit; check_off raises where it does not (see the cheats below)."""
    cls = METHODS[name]
    reference = REFERENCES[cls.equals]() if cls.equals in REFERENCES else None
    contract.check_off(cls, reference)


@pytest.mark.parametrize("check", contract.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", METHODS)
def test_contract(name: str, check) -> None:
    """Parts 2, 3, 4, 7 and 8: the check raises ContractError where the method breaks it."""
    check(METHODS[name])


@pytest.mark.parametrize("name", catalogue.methods())
def test_every_method_has_its_own_test_and_page_entry(name: str) -> None:
    """Part 8 and the catalogue: every field is there, the file and the test exist."""
    row = catalogue.entry(catalogue.methods()[name])
    assert row["name"] == name and row["title"] and row["reference"] and row["keeps"]
    assert (ROOT / row["file"]).is_file()
    assert (ROOT / row["test"]).is_file(), f"{name} needs a test file of its own: {row['test']}"


@pytest.mark.parametrize("name", catalogue.methods())
def test_settings_are_keyword_only_with_defaults(name: str) -> None:
    """A setting without a default, or one that can be given by position, would break the command line."""
    cls = catalogue.methods()[name]
    for field in fields(cls):
        assert field.kw_only and field.default is not None
    assert cls().settings().keys() == {field.name for field in fields(cls)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, cls in catalogue.methods().items() if cls.beats() is not None])
def test_beats(name: str) -> None:
    """Part 6: over 10 replicas the paired intervals against control and ablation exclude zero."""
    gains = contract.check_beats(catalogue.methods()[name], replicas=10)
    assert gains["control"].low > 0 and gains["ablation"].low > 0


def test_methods_without_beats_are_controls() -> None:
    """Every method but the controls says what it beats."""
    without = {name for name, cls in catalogue.methods().items() if cls.beats() is None}
    assert without == {"fine_tuning", "joint", "l2", "independent", "joint_pretraining"}


# The checks can fail: one small cheat for each.


@dataclass(kw_only=True, eq=False)
class Cheat(Method):
    """A method that behaves, as the base of those that do not.

    Reference: none.
    Needs: task boundaries.
    Keeps: 4 P bytes.
    Departs: nothing.
    """

    name: ClassVar[str] = "cheat"
    needs: ClassVar[frozenset[str]] = frozenset({"task boundaries"})
    off: ClassVar[dict] = {}


class NotOff(Cheat):
    def after_step(self, batch: Batch) -> None:
        with torch.no_grad():
            self.parameters()[0].mul_(1 - 1e-6)


class GlobalGenerator(Cheat):
    def end_task(self, task: Task) -> None:
        with torch.no_grad():
            self.parameters()[0].add_(torch.rand(1))


class MixesReplicas(Cheat):
    def shape_grads(self, batch: Batch) -> None:
        for p in self.parameters():
            p.grad.copy_(p.grad.mean(0, keepdim=True).expand_as(p))


class KeepsAView(Cheat):
    def begin_task(self, task: Task) -> None:
        if task.number:
            x = self.old.x[self.old.index[:, :4]]
            with torch.no_grad():
                self.parameters()[0].add_(x.mean() * 1e-3)
        self.old = task.train.parts[0]


class UsesLabels(Cheat):
    def end_task(self, task: Task) -> None:
        with torch.no_grad():
            self.parameters()[0].mul_(1 + task.number * 1e-3)


class HidesBytes(Cheat):
    def end_task(self, task: Task) -> None:
        self.snapshot = [p.detach().clone() for p in self.parameters()]


class HidesArrays(Cheat):
    def end_task(self, task: Task) -> None:
        self.snapshot = task.train.take(torch.zeros(2, 3, dtype=torch.long))[0].numpy()


class KeepsExamplesInSilence(HidesArrays):
    def bytes_kept(self) -> int:
        return super().bytes_kept() + self.snapshot[0].nbytes


class Overstates(Cheat):
    def bytes_kept(self) -> int:
        return 10 * super().bytes_kept()


class RehearsesInSilence(Replay):
    def widen(self, batch: Batch) -> Batch:
        wider = super().widen(batch)
        self.rehearsed = 0
        return wider


class HidesItsBoundaries(Cheat):
    needs = frozenset()

    def end_task(self, task: Task) -> None:
        pass


class CountsReplicas(Cheat):
    def bytes_kept(self) -> int:
        return stored_bytes(self.parameters()) * self.draws.replicas


class ReadsBack(Cheat):
    def shape_grads(self, batch: Batch) -> None:
        for p in self.parameters():
            if p.grad.norm() > 1:
                p.grad.mul_(0.5)


class MixesDevices(Cheat):
    def shape_grads(self, batch: Batch) -> None:
        for p in self.parameters():
            p.grad.mul_(torch.ones(p.shape, device="cpu"))


class PredictChanges(Cheat):
    def predict(self, x: Tensor, task: int | None = None) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        return self.net(x) + self.calls


class GuessesTheTask(Cheat):
    needs = frozenset({"task labels at test"})
    default = ("rotated", "task")


class Undocumented(Cheat):
    """Says nothing."""


CHEATS = {
    contract.check_off: [NotOff],
    contract.check_seeds: [GlobalGenerator, MixesReplicas, CountsReplicas],
    contract.check_closed_data: [KeepsAView],
    contract.check_labels: [UsesLabels],
    contract.check_bytes: [HidesBytes, HidesArrays, KeepsExamplesInSilence, Overstates, RehearsesInSilence],
    contract.check_needs: [HidesItsBoundaries],
    contract.check_meta_device: [ReadsBack, MixesDevices],
    contract.check_unseen: [PredictChanges, GuessesTheTask],
    contract.check_documentation: [Undocumented],
}


@pytest.mark.parametrize("check, cheat", [(c, x) for c, cheats in CHEATS.items() for x in cheats])
def test_each_check_catches_its_cheat(check, cheat) -> None:
    with pytest.raises(ContractError):
        check(cheat)


LEARNERS = [cls for cls in catalogue.methods().values() if issubclass(cls, Learner)]


@pytest.mark.parametrize("cls", LEARNERS, ids=lambda cls: cls.name)
def test_contract_of_learners(cls: type[Learner]) -> None:
    """check_method raises ContractError where the learner breaks its contract (see the cheats below)."""
    check_method(cls)


class ReadsTheLoss(MAML):
    def outer_loss(self, episode):
        loss = super().outer_loss(episode)
        return loss if loss.sum() > 0 else loss


class MixesItsReplicas(MAML):
    def outer_loss(self, episode):
        loss = super().outer_loss(episode)
        return loss + loss.mean()


class NeverOff(MAML):
    off: ClassVar[dict] = {"steps": 1}


@pytest.mark.parametrize("cheat", [ReadsTheLoss, MixesItsReplicas, NeverOff])
def test_a_learner_that_cheats_is_caught(cheat: type[Learner]) -> None:
    with pytest.raises(ContractError):
        check_method(cheat)


def test_check_method_passes_one_that_behaves_and_names_what_is_broken() -> None:
    """`clkit.check_method` on classes from outside the repository."""
    check_method(Cheat)
    with pytest.raises(ContractError, match="bytes"):
        check_method(HidesBytes)
    with pytest.raises(ValueError, match="no subclass of clkit.Method"):
        check_method(int)  # type: ignore[arg-type]
