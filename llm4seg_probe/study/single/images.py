"""The images of a run as batches that say how many they are, and can be gone through again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llm4seg_probe.data.batches import Batch
    from llm4seg_probe.training.run import Run


@dataclass(frozen=True)
class RunImages:
    """One side of a run's split, or all images of ``data``, in batches as an evaluation has them.

    The length is that of the batches, so that a bar over them knows the time left.
    """

    run: Run
    split: str = "test"
    data: Path | None = None

    def __len__(self) -> int:
        return -(-len(self.run.images(self.split, self.data)) // self._size)

    def __iter__(self) -> Iterator[Batch]:
        return self.run.batches(self.split, self.data, size=self._size)

    @property
    def _size(self) -> int:
        return self.run.config.training.batch_size
