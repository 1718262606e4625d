"""How a batch is shared by processes, and what each share counts in a step.

All processes together see the batches that one process would see. A step is the mean over the
images of its batches, whatever their number: a last small batch, a last incomplete group of
batches and unequal shares are weighed by their images.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.utils.data import Sampler


@dataclass(frozen=True)
class Shares:
    """The batches of one pass over ``count`` images, ``size`` of them in a batch of all processes.

    ``rank`` is this process, ``world`` the number of them.
    """

    count: int
    size: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return math.ceil(self.count / self.size)

    def part(self, batch: Sequence[int]) -> list[int]:
        """This process's images of a batch; one that :meth:`own` does not count if it has none.

        >>> [Shares(3, 3, rank, 2).part([7, 8, 9]) for rank in (0, 1)]
        [[7, 9], [8]]
        """
        return list(batch[self.rank :: self.world]) or list(batch[:1])

    def own(self, index: int) -> int:
        """How many images of batch ``index`` this process counts."""
        return len(range(self.rank, self._images(index, index + 1), self.world))

    def weight(self, index: int, accumulate: int) -> float:
        """Factor of this process's mean loss over its share of batch ``index``.

        ``accumulate`` batches make a step. Processes are averaged and batches divided by
        ``accumulate`` elsewhere: with this factor the step is the mean over the images of its
        batches. It is 1 where all shares and batches are alike.
        """
        first = index - index % accumulate
        together = self._images(first, first + accumulate)
        return self.own(index) * self.world * accumulate / together

    def _images(self, first: int, end: int) -> int:
        return min(end * self.size, self.count) - first * self.size


class SharedBatches(Sampler[list[int]]):
    """Batch by batch this process's images of an order."""

    def __init__(self, order: Sequence[int], shares: Shares) -> None:
        self._order = order
        self._shares = shares

    def __len__(self) -> int:
        return len(self._shares)

    def __iter__(self) -> Iterator[list[int]]:
        size = self._shares.size
        for start in range(0, len(self._order), size):
            yield self._shares.part(self._order[start : start + size])
