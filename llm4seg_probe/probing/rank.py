"""The rank probe: how many directions the features use, by site, image and part of the image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, UserError, unknown
from llm4seg_probe.measures.foreground import foreground_tokens
from llm4seg_probe.measures.rank import (
    MergedTokens,
    largest_token_share,
    singular_values,
    spectrum_measures,
)
from llm4seg_probe.probing import nulls
from llm4seg_probe.probing.passes import Pool, Run, checked, recorded, run_columns
from llm4seg_probe.probing.rows import Rows
from llm4seg_probe.tables import RANK

Part = Literal["all", "foreground", "background", "dataset"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class RankResult:
    """What the rank probe found for one run."""

    table: pd.DataFrame
    """``rank.csv``."""
    spectra: dict[str, np.ndarray]
    """``spectrum_{run,arm,seed,site,part,null}`` (S,), and ``spectra`` (S, K): shares σ_i / Σσ,
    largest first, mean over images, NaN beyond the last."""


def rank_table(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str] = ("before", "after"),
    parts: Sequence[Part] = PARTS,
    *,
    untrained: nn.Module | None = None,
    null_images: int = 32,
) -> pd.DataFrame:
    """``rank.csv`` of one run; see :func:`measure_rank`."""
    return measure_rank(
        run, batches, sites, parts, untrained=untrained, null_images=null_images
    ).table


def measure_rank(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str] = ("before", "after"),
    parts: Sequence[Part] = PARTS,
    *,
    untrained: nn.Module | None = None,
    null_images: int = 32,
) -> RankResult:
    """Measure the rank at each site, of each image and of all tokens of the data set together.

    ``foreground`` are the tokens of which at least half lies in the mask, ``background`` the
    others; an image without such tokens has a row with ``tokens`` 0 and no values. ``dataset``
    has one row, whose ``image`` and ``group`` are empty.

    The null bands are measured on ``null_images`` of the images, whole: ``shuffled``,
    ``gaussian``, and ``untrained`` where that network (as the run's was before training) is
    given. Memory does not grow with the number of images.

    Raises SiteError for an unknown site; DataError for images that the network does not take,
    and when no image has any foreground although those tokens are asked for.
    """
    for part in parts:
        if part not in PARTS:
            raise UserError(unknown("part", part, PARTS))
    sites = tuple(dict.fromkeys(sites))
    divided = [part for part in dict.fromkeys(parts) if part in ("foreground", "background")]
    found = _Found(run)
    merged = {site: MergedTokens() for site in sites}
    pool = Pool(null_images)
    any_foreground = False
    for batch in checked(run, batches, sites, "Rank"):
        recording, _ = recorded(run.network, batch.images, sites)
        any_foreground = any_foreground or bool(batch.masks.any())
        pool.add(batch)
        for site in sites:
            tokens = recording[site]
            if "all" in parts:
                found.add_whole(site, "", tokens, batch.names, batch.groups)
            if divided:
                inside = foreground_tokens(batch.masks, recording.grid(site))
                for part in divided:
                    chosen = inside if part == "foreground" else ~inside
                    found.add_part(site, part, tokens, chosen, batch)
            if "dataset" in parts:
                merged[site].add(tokens)
    if divided and not any_foreground:
        raise DataError(
            f"no image that run {run.name} was probed on has any foreground: give images with "
            "masks, or (in Python) measure the parts 'all' and 'dataset' only"
        )
    if "dataset" in parts:
        for site, tokens_of_all in merged.items():
            found.add_dataset(site, tokens_of_all)
    _add_nulls(found, pool, run.network, untrained, sites)
    return found.result()


def _add_nulls(
    found: _Found, pool: Pool, network: nn.Module, untrained: nn.Module | None, sites: Sequence[str]
) -> None:
    tokens: dict[str, list[Tensor]] = defaultdict(list)
    names: list[str] = []
    groups: list[str] = []
    for batch in pool.batches():
        recording, _ = recorded(network, batch.images, sites)
        names += batch.names
        groups += batch.groups
        for site in sites:
            tokens[site].append(recording[site])
            null = nulls.gaussian(recording[site], batch.names, site)
            found.add_whole(site, "gaussian", null, batch.names, batch.groups)
        if untrained is not None:
            recording, _ = recorded(untrained, batch.images, sites)
            for site in sites:
                found.add_whole(site, "untrained", recording[site], batch.names, batch.groups)
    if len(names) > 1:
        for site in sites:
            null = nulls.shuffled(torch.cat(tokens.pop(site)), site)
            found.add_whole(site, "shuffled", null, names, groups)


class _Found:
    """Rows of the table and summed spectra, as they come."""

    def __init__(self, run: Run) -> None:
        self._run = run_columns(run)
        self._rows = Rows(RANK)
        self._spectra: dict[tuple[str, str, str], tuple[Tensor, int]] = {}

    def add_whole(
        self, site: str, null: str, tokens: Tensor, names: Sequence[str], groups: Sequence[str]
    ) -> None:
        """One row per image, of all its tokens (B, N, C)."""
        sigma, measures = _measured(tokens)
        self._add_spectra((site, "all", null), sigma)
        for index, image in enumerate(zip(names, groups, strict=True)):
            values = {name: column[index] for name, column in measures.items()}
            self._add_row((site, "all", null), image, tokens.shape[1:], values)

    def add_part(self, site: str, part: Part, tokens: Tensor, chosen: Tensor, batch: Batch) -> None:
        """One row per image, of its tokens that are chosen (B, N)."""
        for index, image in enumerate(zip(batch.names, batch.groups, strict=True)):
            matrix = tokens[index, chosen[index]][None]
            measures = _measured(matrix)[1] if matrix.shape[1] else {}
            values = {name: column[0] for name, column in measures.items()}
            self._add_row((site, part, ""), image, matrix.shape[1:], values)

    def add_dataset(self, site: str, merged: MergedTokens) -> None:
        """One row for all tokens of the data set as one matrix."""
        sigma = merged.singular_values()
        self._add_spectra((site, "dataset", ""), sigma[None])
        values = {name: value.item() for name, value in merged.measures().items()}
        shape = (merged.tokens, merged.channels)
        self._add_row((site, "dataset", ""), ("", ""), shape, values)

    def result(self) -> RankResult:
        """The table, and the mean spectra behind it."""
        longest = max((len(total) for total, _ in self._spectra.values()), default=0)
        spectra = np.full((len(self._spectra), longest), np.nan)
        for index, (total, count) in enumerate(self._spectra.values()):
            spectra[index, : len(total)] = (total / max(count, 1)).numpy()
        keys = list(self._spectra)
        columns = {name: [self._run[name]] * len(keys) for name in ("run", "arm", "seed")}
        columns |= {name: [key[i] for key in keys] for i, name in enumerate(_PLACE)}
        arrays = {f"spectrum_{name}": np.array(column) for name, column in columns.items()}
        return RankResult(self._rows.table(), {**arrays, "spectra": spectra})

    def _add_row(
        self,
        place: tuple[str, str, str],
        image: tuple[str, str],
        shape: Sequence[int],
        values: dict[str, float],
    ) -> None:
        keys = dict(zip(_PLACE, place, strict=True)) | {"image": image[0], "group": image[1]}
        sizes = {"tokens": shape[0], "channels": shape[1]}
        self._rows.add({**self._run, **keys, **sizes, **values})

    def _add_spectra(self, place: tuple[str, str, str], sigma: Tensor) -> None:
        shares = sigma / sigma.sum(-1, keepdim=True)
        shares = shares[torch.isfinite(shares).all(-1)]
        total, count = self._spectra.get(place, (torch.zeros(sigma.shape[-1]).double(), 0))
        self._spectra[place] = total + shares.sum(0), count + len(shares)


_PLACE = ("site", "part", "null")


def _measured(tokens: Tensor) -> tuple[Tensor, dict[str, list[float]]]:
    """Singular values (B, K) and all measures of each token matrix, from one decomposition."""
    sigma = singular_values(tokens)
    measures = {**spectrum_measures(sigma), "largest_token_share": largest_token_share(tokens)}
    return sigma, {name: column.tolist() for name, column in measures.items()}
