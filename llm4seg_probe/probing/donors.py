"""Activations of other images, to be patched into each image's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from llm4seg_probe.data.batches import Batch
from llm4seg_probe.probing.interventions import Intervention, patched
from llm4seg_probe.probing.passes import Pool, Run, checked, recorded
from llm4seg_probe.randomness import address

IMAGES = 32


class Donors:
    """The activations of a few images at some sites; the same images for all runs.

    An image is given those of one that is not itself, of another group where there is one:
    neighbouring slices of one person are nearly the same image.
    """

    def __init__(self, run: Run, batches: Iterable[Batch], sites: Sequence[str]) -> None:
        pool = Pool(IMAGES)
        for batch in checked(run, batches, sites, "Other images"):
            pool.add(batch)
        parts: dict[str, list[Tensor]] = {site: [] for site in sites}
        self._images: list[tuple[str, str]] = []
        for batch in pool.batches():
            recording, _ = recorded(run.network, batch.images, sites)
            self._images += zip(batch.names, batch.groups, strict=True)
            for site in sites:
                parts[site].append(recording[site])
        self._tokens = {site: torch.cat(seen) for site, seen in parts.items()}

    def patches(self, batch: Batch) -> list[Intervention]:
        """An intervention per site for the images of a batch; none where an image has no other."""
        partners = [self._partner(*image) for image in zip(batch.names, batch.groups, strict=True)]
        chosen = [partner for partner in partners if partner is not None]
        if len(chosen) < len(partners):
            return []
        return [patched(site, tokens[chosen]) for site, tokens in self._tokens.items()]

    def _partner(self, name: str, group: str) -> int | None:
        others = [i for i, (other, _) in enumerate(self._images) if other != name]
        strangers = [i for i in others if self._images[i][1] != group]
        choice = strangers or others
        return choice[address("intervene", "patched", name) % len(choice)] if choice else None
