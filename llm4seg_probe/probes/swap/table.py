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

import numpy as np
import pandas as pd
from torch import Tensor, nn

from llm4seg_probe import progress
from llm4seg_probe.activations.interventions import Place, editing, heads_of, place_of
from llm4seg_probe.activations.passes import (
    Run,
    checked,
    evaluating,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.errors import CheckpointError, DataError, SiteError
from llm4seg_probe.measures.linear_map import LinearMap, MapFit, explained
from llm4seg_probe.probes.effects import effects, masks_of, overlaps, say_notes, single_pass
from llm4seg_probe.probes.intervene.table import score_rows
from llm4seg_probe.probes.overflow import refuse_overflow, told_of_no_numbers
from llm4seg_probe.probes.probed import Measurement, RunImages, Source
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.probes.swap import SWAP, SWAP_EFFECTS, Options
from llm4seg_probe.training.compute import computing
from llm4seg_probe.training.stored_run import Run as StoredRun


@dataclass(frozen=True)
class Turn:
    """A receiver, the same seed of the other arm, and the next seed of its own (None: no other)."""

    receiver: Source
    other_arm: Source
    other_seed: Source | None


def by_arm_and_seed(sources: Sequence[Source]) -> dict[str, dict[int, Source]]:
    """Runs of two arms by arm and seed.

    Raises CheckpointError where they are not that, DataError for one without training images.
    """
    found: dict[str, dict[int, Source]] = {}
    for source in sources:
        path, content = source.path, source.content
        if not content.split.train:
            raise DataError(
                f"{path} was converted from a checkpoint that does not say which images it was "
                "trained on: the map between two networks is fitted on those, so --swap takes "
                "runs that were trained here"
            )
        config = content.configuration(str(path))
        seeds = found.setdefault(config.arm, {})
        if config.seed in seeds:
            raise CheckpointError(
                f"{path} and {seeds[config.seed].path} are both arm {config.arm}, seed "
                f"{config.seed}: --swap pairs runs by seed, give one of them"
            )
        seeds[config.seed] = source
    if len(found) != 2:
        raise CheckpointError(
            f"--swap exchanges activations between two arms, but the checkpoints are of "
            f"{len(found)} ({', '.join(found)}): give the runs of two, with the same seeds"
        )
    (a, of_a), (b, of_b) = found.items()
    alone = {a: set(of_a) - set(of_b), b: set(of_b) - set(of_a)}
    if any(alone.values()):
        listed = "; ".join(f"{arm} {sorted(seeds)}" for arm, seeds in alone.items() if seeds)
        raise CheckpointError(
            f"--swap pairs the arms by seed, but these seeds are in one alone: {listed}. Give "
            "their partners, or leave them out"
        )
    return found


def turns_of(runs: dict[str, dict[int, Source]]) -> Iterator[Turn]:
    """Every run as the receiver, arm by arm, seeds in order."""
    for arm, seeds in runs.items():
        (other,) = (name for name in runs if name != arm)
        ordered = sorted(seeds)
        for seed, following in zip(ordered, ordered[1:] + ordered[:1], strict=True):
            next_seed = None if following == seed else seeds[following]
            yield Turn(seeds[seed], runs[other][seed], next_seed)


SITE = "after"
OTHER_ARM, OTHER_SEED, MEAN = "other-arm", "other-seed", "mean"

_BASE = ("", "")
Seen = dict[str, Tensor]


def measure_together(sources: Sequence[Source], options: Options) -> Measurement:
    """Swap activations between two arms, both ways, seed by seed; see :func:`swap_table`.

    Maps are fitted on the training images of the runs' own split. Beside the other arm's
    activations go another seed's of the same arm (the next one) and the mean activation.

    Raises CheckpointError for other than two arms, or seeds without a partner; DataError where
    the two were not trained on the same images, or do not say on which.
    """
    turns = list(turns_of(by_arm_and_seed(sources)))
    parts = [_received(turn, options.heads) for turn in progress.track(turns, "Swaps")]
    return Measurement(pd.concat(parts, ignore_index=True))


def _received(turn: Turn, heads: bool) -> pd.DataFrame:
    probed = turn.receiver.open()
    run = probed.run
    donors = {OTHER_ARM: _opened(turn.other_arm)}
    if turn.other_seed is None:
        progress.say(f"{run.name}: left out another seed of its arm: no other was given")
    else:
        donors[OTHER_SEED] = _opened(turn.other_seed)
    for donor in donors.values():
        _require_same_images(run, donor)
    exchange = Exchange.between(run, donors, heads=heads)
    with computing(run.config.compute), told_of_no_numbers(run):
        refuse_overflow(probed)
        fitted = fit(exchange, RunImages(run, "train"))
        table = swap_table(exchange, fitted, probed.evaluated(), probed.collection)
    return table if probed.data is None else table.assign(dataset=probed.collection.name)


def _opened(source: Source) -> StoredRun:
    """The run of a donor. Raises CheckpointError for one that gives no finite numbers."""
    donor = source.open()
    with computing(donor.run.config.compute):
        refuse_overflow(donor)
    return donor.run


def _require_same_images(run: StoredRun, donor: StoredRun) -> None:
    if run.split != donor.split or run.config.data != donor.config.data:
        raise DataError(
            f"{run.name} and {donor.name} were not trained on the same images in the same way "
            "(data and split): activations are swapped on the same images only"
        )


def changes(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """``swap-effects.csv``; which intervals are missing, and why, is said."""
    found = swap_effects(tables[SWAP.name])
    say_notes(found)
    return {SWAP_EFFECTS.name: found}


def summarise(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The changes of IoU, beside the gap between the arms."""
    found = tables[SWAP_EFFECTS.name]
    shown = ["arm", "site", "donor", "n_seeds", "mean", "change", "ci_low", "ci_high", "gap"]
    return found.loc[found["score"] == "iou", [*shown, "gap_share", "explained"]]


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
            single_pass(network, batch.images, self.receiver.config)
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
    refuse_without_foreground(any_foreground, exchange.receiver)
    return rows.table()


def _swapped(
    exchange: Exchange, fitted: Fitted, batch: Batch, masks: Sequence[Tensor]
) -> Iterator[dict[str, Any]]:
    """The rows of one batch."""
    run = exchange.receiver
    keys = {**run_columns(run), "site": "", "donor": "", "donor_run": ""}
    own, given = exchange.seen(batch)
    with evaluating(run.network):
        plain = overlaps(single_pass(run.network, batch.images, run.config), masks, run.config)
        for row in score_rows(batch, run.config.data.classes, plain, plain):
            yield {**keys, **row}
        for site, (place, *_) in exchange.places.items():
            for donor, tokens in fitted.given(site, given, len(batch.names)).items():
                with editing(run.network, place, partial(_exchanged, new=tokens)):
                    logits = single_pass(run.network, batch.images, run.config)
                scores = overlaps(logits, masks, run.config)
                shares = explained(tokens, own[site], fitted.means[site]).tolist()
                share = dict(zip(batch.names, shares, strict=True))
                name = exchange.donors[donor].name if donor in exchange.donors else ""
                where = {**keys, "site": site, "donor": donor, "donor_run": name}
                for row in score_rows(batch, run.config.data.classes, scores, plain):
                    yield {**where, **row, "explained": share[row["image"]]}


def _exchanged(tokens: Tensor, new: Tensor) -> Tensor:
    return new


def swap_effects(table: pd.DataFrame) -> pd.DataFrame:
    """``swap-effects.csv``: mean changes with intervals, and their share of the gap.

    The gap is the other arm's score minus the receiver's. ``gap_low`` and ``gap_high`` span all
    of its intervals that there are: over seeds, over groups, over both. ``gap_share`` is change
    over gap, empty unless that span excludes zero.
    """
    found = effects(table, ["site", "donor"], _BASE)
    plain = table[(table["site"] == _BASE[0]) & (table["donor"] == _BASE[1])]
    gaps = pd.concat([_gaps(plain, arm) for arm in plain["arm"].unique()])
    found = found.merge(gaps, on=["dataset", "arm", "score"], validate="many_to_one")
    is_there = (found["gap_low"] > 0) | (found["gap_high"] < 0)
    found["gap_share"] = (found["change"] / found["gap"]).where(is_there)
    keys = ["dataset", "arm", "site", "donor"]
    shares = table[table["donor"] != ""].groupby(keys)["explained"].mean().reset_index()
    return found.merge(shares, on=keys, how="left", validate="many_to_one")


def _gaps(plain: pd.DataFrame, arm: str) -> pd.DataFrame:
    """By score, how far the other arm is above one, as that arm's own condition."""
    role = np.where(plain["arm"] == arm, "receiver", "other")
    found = effects(plain.assign(arm=arm, role=role), ["role"], ["receiver"])
    return pd.DataFrame(
        {
            "dataset": found["dataset"],
            "arm": arm,
            "score": found["score"],
            "gap": found["change"],
            "gap_low": found[["ci_low", "boot_low", "case_low"]].min(axis=1),
            "gap_high": found[["ci_high", "boot_high", "case_high"]].max(axis=1),
        }
    )
