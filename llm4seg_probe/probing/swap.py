"""The causal swap: activations of one run put into another, through a fitted linear map.

Two networks that were trained apart have no common basis, so the donor's tokens go through the
linear map that best predicts the receiver's own from them on training images. What stays of the
receiver is everything else: its encoder's skips on the same image, and its decoder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import pandas as pd
from torch import Tensor, nn

from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.measures.linear_map import LinearMap, MapFit, explained
from llm4seg_probe.probing.intervene import score_rows
from llm4seg_probe.probing.interventions import Place, editing, heads_of, place_of
from llm4seg_probe.probing.overlaps import logits_of, masks_of, overlaps
from llm4seg_probe.probing.passes import Run, checked, evaluating, run_columns
from llm4seg_probe.probing.rows import Rows
from llm4seg_probe.tables import SWAP

SHOWS = (
    "Shows how much of a score goes with what a linear map can carry over of another network's "
    "features. Swapping costs something by itself: what another seed of the same arm loses is "
    "that cost, what the mean activation loses is the most there is to lose. A nonlinear code is "
    "lost in the map, and the skips of the receiver go around the swapped place."
)

SITE = "after"
OTHER_ARM, OTHER_SEED, MEAN = "other-arm", "other-seed", "mean"


Seen = dict[str, Tensor]


class Donor(Protocol):
    """What a run that gives its activations must say."""

    @property
    def name(self) -> str:
        """Name of the run."""

    @property
    def network(self) -> nn.Module:
        """Its network."""


@dataclass(frozen=True, eq=False)
class Exchange:
    """A receiver, its donors by what they are (``other-arm``, ``other-seed``), and the places.

    ``places`` are one per network at each site, the receiver's first: ``after``, and with
    ``heads`` each attention head.
    """

    receiver: Run
    donors: Mapping[str, Donor]
    places: Mapping[str, Sequence[Place]]

    @classmethod
    def between(cls, receiver: Run, donors: Mapping[str, Donor], *, heads: bool = False) -> Self:
        """Raises SiteError where heads are wanted and the layers differ in architecture."""
        networks = [receiver.network, *(donor.network for donor in donors.values())]
        places = {SITE: [place_of(network, SITE) for network in networks]}
        return cls(receiver, donors, places | (_heads(networks) if heads else {}))

    def seen(self, batch: Batch) -> tuple[Seen, dict[str, Seen]]:
        """Tokens (B, N, C) by site on the same images: the receiver's, and each donor's.

        Raises SiteError where a donor's grid is of another size.
        """
        own = self._seen(self.receiver.network, batch, 0)
        given = {}
        for index, (name, donor) in enumerate(self.donors.items(), start=1):
            given[name] = self._seen(donor.network, batch, index)
            for site, tokens in given[name].items():
                if tokens.shape[1] != own[site].shape[1]:
                    raise SiteError(
                        f"{donor.name} has {tokens.shape[1]} tokens at '{site}', "
                        f"{self.receiver.name} has {own[site].shape[1]}: activations can be "
                        "swapped only between grids of the same size"
                    )
        return own, given

    def _seen(self, network: nn.Module, batch: Batch, index: int) -> Seen:
        seen: Seen = {}

        def look(tokens: Tensor, site: str) -> Tensor:
            seen[site] = tokens.clone()
            return tokens

        with evaluating(network), ExitStack() as stack:
            for site, places in self.places.items():
                stack.enter_context(editing(network, places[index], partial(look, site=site)))
            logits_of(network, batch.images, self.receiver.config)
        return seen


def _heads(networks: Sequence[nn.Module]) -> dict[str, list[Place]]:
    each = [heads_of(network) for network in networks]
    sizes = [{name: (place.start, place.stop) for name, place in places.items()} for places in each]
    if any(other != sizes[0] for other in sizes[1:]):
        counts = " and ".join(str(len(places)) for places in each)
        raise SiteError(
            "heads can be swapped only between layers of equal architecture: these have "
            f"{counts} heads, or heads of another size"
        )
    return {f"head {name}": [places[name] for places in each] for name in each[0]}


@dataclass(frozen=True, eq=False)
class Fitted:
    """What was fitted on training images for one receiver.

    ``maps`` by donor and site; ``means`` by site, (N, C): the receiver's mean activation of each
    position and channel.
    """

    maps: Mapping[tuple[str, str], LinearMap]
    means: Mapping[str, Tensor]

    def given(self, site: str, seen: Mapping[str, Seen], images: int) -> dict[str, Tensor]:
        """What is put into the receiver at a site: each donor's tokens, mapped, and the mean."""
        mapped = {donor: self.maps[donor, site](tokens[site]) for donor, tokens in seen.items()}
        return {**mapped, MEAN: self.means[site].expand(images, *self.means[site].shape)}


def fit(exchange: Exchange, train: Iterable[Batch]) -> Fitted:
    """The linear maps from each donor's activations to the receiver's, and the receiver's mean.

    ``train`` are images that the receiver was trained on. Raises SiteError for grids of different
    sizes, DataError when there are no images.
    """
    fits = {(donor, site): MapFit() for donor in exchange.donors for site in exchange.places}
    sums: dict[str, Tensor] = {}
    count = 0
    for batch in checked(exchange.receiver, train, [SITE], "Maps fitted to the features"):
        own, given = exchange.seen(batch)
        count += len(batch.names)
        for site, tokens in own.items():
            total = tokens.double().sum(0)
            sums[site] = sums[site] + total if site in sums else total
        for donor, seen in given.items():
            for site, tokens in seen.items():
                fits[donor, site].add(tokens, own[site])
    solved = {key: each.solved() for key, each in fits.items()}
    return Fitted(solved, {site: total / count for site, total in sums.items()})


def swap_table(
    exchange: Exchange, fitted: Fitted, batches: Iterable[Batch], collection: Collection
) -> pd.DataFrame:
    """``swap.csv`` of one receiver: its scores with each donor's activations in its network.

    The rows with ``donor`` empty are the receiver as it is; ``mean`` is its mean activation.
    ``explained`` is the share of the receiver's own activations, about that mean, that the mapped
    ones account for on the image.

    Raises SiteError for grids of different sizes, DataError when no image has any foreground.
    """
    rows = Rows(SWAP)
    any_foreground = False
    for batch in checked(exchange.receiver, batches, [SITE], "Swaps into"):
        masks = masks_of(exchange.receiver.config, collection, batch)
        any_foreground |= any(bool(mask.any()) for mask in masks)
        for row in _swapped(exchange, fitted, batch, masks):
            rows.add(row)
    if not any_foreground:
        raise DataError(
            f"no image that run {exchange.receiver.name} was scored on has any foreground: give "
            "images that have"
        )
    return rows.table()


def _swapped(
    exchange: Exchange, fitted: Fitted, batch: Batch, masks: Sequence[Tensor]
) -> Iterator[dict[str, Any]]:
    """The rows of one batch."""
    run = exchange.receiver
    keys = {**run_columns(run), "site": "", "donor": "", "donor_run": ""}
    own, given = exchange.seen(batch)
    with evaluating(run.network):
        plain = overlaps(logits_of(run.network, batch.images, run.config), masks, run.config)
        for row in score_rows(batch, run.config.data.classes, plain, plain):
            yield {**keys, **row}
        for site, (place, *_) in exchange.places.items():
            for donor, tokens in fitted.given(site, given, len(batch.names)).items():
                with editing(run.network, place, partial(_exchanged, new=tokens)):
                    logits = logits_of(run.network, batch.images, run.config)
                scores = overlaps(logits, masks, run.config)
                shares = explained(tokens, own[site], fitted.means[site]).tolist()
                share = dict(zip(batch.names, shares, strict=True))
                name = exchange.donors[donor].name if donor in exchange.donors else ""
                where = {**keys, "site": site, "donor": donor, "donor_run": name}
                for row in score_rows(batch, run.config.data.classes, scores, plain):
                    yield {**where, **row, "explained": share[row["image"]]}


def _exchanged(tokens: Tensor, new: Tensor) -> Tensor:
    return new
