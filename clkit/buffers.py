"""Memories of single examples, for all replicas at once: x [R, M, ...], y [R, M].

Examples are copies, stored as seen; all replicas hold the same number. One scratch slot takes what is turned
away, so that a write needs no decision on the CPU; its bytes are counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from clkit.errors import counted
from clkit.method import stored_bytes
from clkit.replicas import Draws, Feed


@dataclass
class Recent:
    """The last `capacity` examples presented: number n (from 0) goes to slot n mod M."""

    capacity: int  # M
    draws: Draws
    seen: int = field(default=0, init=False)  # presentations over the whole stream
    reads: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        counted("capacity", self.capacity, zero=True)
        self.coins = Feed(self.draws, "memory writes")
        self.picks = Feed(self.draws, "memory reads")
        self.kept: tuple[Tensor, ...] = ()  # x [R, M + 1, ...], y [R, M + 1]

    @property
    def filled(self) -> int:
        return min(self.seen, self.capacity)

    def slots(self, n: Tensor) -> Tensor:
        """[R, B] or [B]: where presentations number n [B] go; M means nowhere."""
        return n % self.capacity

    def add(self, x: Tensor, y: Tensor) -> None:
        """Present the examples x [R, B, ...], y [R, B], in order."""
        if self.capacity == 0:
            return
        if not self.kept:
            self.kept = tuple(t.new_zeros(t.shape[0], self.capacity + 1, *t.shape[2:]) for t in (x, y))
        n = torch.arange(self.seen, self.seen + y.shape[1], device=y.device)
        slots = self.slots(n).expand(y.shape)
        again = (slots[:, :, None] == slots[:, None, :]).triu(1).any(2)
        slots = torch.where(again, self.capacity, slots)  # of two for one slot the later stays
        replica = torch.arange(y.shape[0], device=y.device)[:, None]
        for kept, new in zip(self.kept, (x.detach(), y), strict=True):
            kept[replica, slots] = new
        self.seen += y.shape[1]

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        """x [R, b, ...], y [R, b]: b = min(size, filled) different ones, uniformly; not when empty."""
        chance = self.picks(self.reads * self.capacity, self.capacity)[:, : self.filled]
        self.reads += 1
        rows = chance.topk(min(size, self.filled), dim=1).indices
        replica = torch.arange(len(rows), device=rows.device)[:, None]
        return self.kept[0][replica, rows], self.kept[1][replica, rows]

    def bytes_kept(self) -> int:
        """(M + 1) examples per replica, x and y in the dtype stored; 0 before the first."""
        return stored_bytes(self.kept)


class Reservoir(Recent):
    """A uniform sample of everything presented (Vitter 1985, algorithm R).

    Presentation n (from 0) goes to slot n while n < M, afterwards to slot j ~ U{0..n} if j < M, else nowhere.
    """

    def slots(self, n: Tensor) -> Tensor:
        coin = self.coins(self.seen, len(n))
        j = (coin * (n + 1)).long()  # eq: reservoir
        return torch.where(n < self.capacity, n, j).clamp(max=self.capacity)
