"""Runs as a probe is given them: finished, opened one at a time, with images to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from torch import nn

    from llm4seg_probe.config import Config
    from llm4seg_probe.data.batches import Batch
    from llm4seg_probe.data.collection import Collection, Sample
    from llm4seg_probe.training.checkpoint import RunContent
    from llm4seg_probe.training.stored_run import Run


@dataclass(frozen=True)
class Measurement:
    """What a probe measured.

    Parameters
    ----------
    table
        Rows of the probe's table.
    arrays
        What its figures are drawn from beside the table, by name; of several runs they are merged
        (:func:`~llm4seg_probe.probes.arrays.merged`).
    further
        Rows of its further tables, by file name.
    left_out
        What of it was left out of a run, and why: said once for all the runs of which it is true.
    """

    table: pd.DataFrame
    arrays: Mapping[str, np.ndarray] | None = None
    further: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class ProbedRun:
    """An opened run with the images that a probe looks at: a side of its split, or other data.

    ``others`` are the other runs that were given with it.
    """

    run: Run
    split: str = "test"
    data: Path | None = None
    others: Sequence[Source] = ()

    def batches(self) -> Iterator[Batch]:
        """The images and masks in order, as the network sees them, 16 at a time."""
        return self.run.batches(self.split, self.data)

    def evaluated(self) -> RunImages:
        """The same images in batches as an evaluation has them; may be gone through again."""
        return RunImages(self.run, self.split, self.data)

    @cached_property
    def collection(self) -> Collection:
        """Where the images are stored."""
        return self.run.collection(self.data)

    @property
    def samples(self) -> list[Sample]:
        """The images as they are stored, in order."""
        return [self.collection.sample(name) for name in self.run.images(self.split, self.data)]

    @cached_property
    def untrained(self) -> nn.Module | None:
        """The network before its training, for the null band of that name; see :mod:`nulls`."""
        from llm4seg_probe.activations.nulls import untrained

        network = untrained(self.run.config) if self.run.epoch is not None else None
        return None if network is None else network.to(self.run.device)


@dataclass(frozen=True)
class Source:
    """A finished run in a file, opened when it is its turn.

    ``network`` is the network from outside, ``package.module:callable``, that it was trained with:
    the user's own word, never that of the file. ``device`` is where it is computed, by its word;
    None for ``auto``, and for a run that is open already where it lies.
    """

    path: Path
    split: str = "test"
    data: Path | None = None
    network: str | None = None
    device: str | None = None

    @property
    def content(self) -> RunContent:
        """What its file holds. Raises CheckpointError for a file that is not a run."""
        from llm4seg_probe.training import checkpoint
        from llm4seg_probe.training.checkpoint import run_content_of

        return run_content_of(checkpoint.read_run(self.path), str(self.path))

    @property
    def config(self) -> Config:
        """The configuration in its file. Raises CheckpointError where it is none."""
        return self.content.configuration(str(self.path))

    def open(self, others: Sequence[Source] = ()) -> ProbedRun:
        """Open the run. Raises CheckpointError for a file that is not a run."""
        from llm4seg_probe.training.stored_run import load

        run = load(self.path, network=self.network, device=self.device or "auto")
        return ProbedRun(run, self.split, self.data, others)
