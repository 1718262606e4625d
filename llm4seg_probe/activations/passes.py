"""One forward pass of a run over a batch, recorded, with the network left as it was."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations.recorder import Recording, record
from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.models.devices import device_of
from llm4seg_probe.models.sites import find_site
from llm4seg_probe.randomness import address


class Run(Protocol):
    """What a probe needs of a run; the first four are columns of its table."""

    @property
    def name(self) -> str:
        """Name of the run."""

    @property
    def dataset(self) -> str:
        """Name of the data set."""

    @property
    def arm(self) -> str:
        """Condition of the comparison."""

    @property
    def seed(self) -> int:
        """Seed of the run."""

    @property
    def config(self) -> Config:
        """Configuration that the network was trained with."""

    @property
    def network(self) -> nn.Module:
        """The network: images (B, C, H, W) or (B, C, D, H, W) in, logits (B, K, *size) out."""


def run_columns(run: Run) -> dict[str, str | int]:
    """The columns that say whose measurement a row is."""
    return {"run": run.name, "dataset": run.dataset, "arm": run.arm, "seed": run.seed}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Run a block in evaluation mode without gradients; the mode of each module is put back."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def recorded(network: nn.Module, images: Tensor, sites: Sequence[str]) -> tuple[Recording, Tensor]:
    """One pass over the images: what was seen at the sites, and the logits on the CPU."""
    with evaluating(network), record(network, sites) as recording:
        logits = network(images.to(device_of(network, images.device)))
    for site in sites:
        recording.of_images(site, len(images))
    return recording, logits.float().cpu()


def checked(
    run: Run, batches: Iterable[Batch], sites: Sequence[str], doing: str
) -> Iterator[Batch]:
    """The batches, under a progress bar, when the run's network can be run on them.

    Raises SiteError for a site that the network does not have, or none at all, before anything is
    read; DataError for images of another number of channels, and when there are no images.
    """
    if not sites:
        raise SiteError("no site to probe: name some, such as before and after")
    for site in sites:
        find_site(run.network, site)
    none = True
    for batch in progress.track(batches, f"{doing} of {run.name}"):
        none = False
        channels = batch.images.shape[1]
        if channels != run.config.data.channels:
            raise DataError(
                f"image {batch.names[0]} has {channels} channels, but run {run.name} was trained "
                f"on {run.config.data.channels} (data.channels)"
            )
        yield batch
    if none:
        raise DataError(f"there are no images to probe run {run.name} on")


def refuse_without_foreground(
    any_foreground: bool, run: Run, advice: str = "give images that have some"
) -> None:
    """Raise DataError where no image that a run was probed on has any foreground."""
    if not any_foreground:
        raise DataError(f"no image that run {run.name} was probed on has any foreground: {advice}")


def joined(batches: Iterable[Batch]) -> Batch:
    """One batch of several, without images when there are none."""
    parts = list(batches)
    return Batch(
        images=torch.cat([part.images for part in parts]) if parts else torch.empty(0),
        masks=torch.cat([part.masks for part in parts]) if parts else torch.empty(0),
        names=tuple(name for part in parts for name in part.names),
        groups=tuple(group for part in parts for group in part.groups),
    )


@dataclass(frozen=True, eq=False)
class _Image:
    address: int
    name: str
    group: str
    image: Tensor
    mask: Tensor
    extras: dict[tuple[str, ...], Tensor]


class Pool:
    """A small part of the images, the same for all runs: those of lowest address.

    What is too large to be kept, or too slow, for a whole data set is measured on it. Its order
    takes one image of each group, then a second of each, and so on.
    """

    def __init__(self, size: int, *, foreground_only: bool = False) -> None:
        self._size = size
        self._foreground_only = foreground_only
        self._kept: list[_Image] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, batch: Batch, extras: Mapping[tuple[str, ...], Tensor] | None = None) -> None:
        """Look at a batch, and keep what belongs to the pool so far.

        ``extras`` (B, …) each are kept with their images.
        """
        for index, (name, group) in enumerate(zip(batch.names, batch.groups, strict=True)):
            mask = batch.masks[index] > 0.5
            if mask.any() or not self._foreground_only:
                kept = {key: values[index].clone() for key, values in (extras or {}).items()}
                image = batch.images[index].clone()
                self._kept.append(_Image(address("pool", name), name, group, image, mask, kept))
        self._kept = heapq.nsmallest(self._size, self._kept, key=lambda kept: kept.address)

    def batches(self, count: int | None = None, size: int = 16) -> Iterator[Batch]:
        """The first ``count`` images of the pool, ``size`` at a time."""
        chosen = self._ordered()[:count]
        for start in range(0, len(chosen), size):
            part = chosen[start : start + size]
            yield Batch(
                images=torch.stack([kept.image for kept in part]),
                masks=torch.stack([kept.mask for kept in part]).float(),
                names=tuple(kept.name for kept in part),
                groups=tuple(kept.group for kept in part),
            )

    def extras(self, count: int | None = None) -> dict[tuple[str, ...], Tensor]:
        """What was kept with the first ``count`` images, in their order."""
        chosen = self._ordered()[:count]
        keys = chosen[0].extras if chosen else {}
        return {key: torch.stack([kept.extras[key] for kept in chosen]) for key in keys}

    def _ordered(self) -> list[_Image]:
        seen: Counter[str] = Counter()
        order = []
        for kept in self._kept:
            order.append((seen[kept.group], kept))
            seen[kept.group] += 1
        return [kept for _, kept in sorted(order, key=lambda entry: entry[0])]
