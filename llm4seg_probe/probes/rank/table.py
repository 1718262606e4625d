"""The rank probe: how many directions the features use, by site, image and part of the image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal, cast, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import (
    Pool,
    Run,
    checked,
    recorded,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import UserError, unknown
from llm4seg_probe.measures.rank import (
    MergedTokens,
    largest_token_share,
    singular_values,
    spectrum_measures,
)
from llm4seg_probe.measures.tokens import foreground_tokens
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.rank import RANK, Options
from llm4seg_probe.probes.result import Rows

Part = Literal["all", "foreground", "background", "dataset"]
PARTS: tuple[Part, ...] = get_args(Part)


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`rank_table`."""
    parts = cast(tuple[Part, ...], options.parts)  # a wrong one is refused below
    table = rank_table(
        probed.run, probed.batches(), options.sites, parts, untrained=probed.untrained
    )
    return Measurement(table)


def rank_table(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str] = ("before", "after"),
    parts: Sequence[Part] = PARTS,
    *,
    untrained: nn.Module | None = None,
    null_images: int = 32,
) -> pd.DataFrame:
    """Measure ``rank.csv`` of one run: at each site, of each image and of the whole data set.

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
    rows = _RankRows(run)
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
                rows.add_whole(site, "", tokens, batch.names, batch.groups)
            if divided:
                inside = foreground_tokens(batch.masks, recording.grid(site))
                for part in divided:
                    chosen = inside if part == "foreground" else ~inside
                    rows.add_part(site, part, tokens, chosen, batch)
            if "dataset" in parts:
                merged[site].add(tokens)
    if divided:
        refuse_without_foreground(
            any_foreground, run,
            "give images with masks, or measure other parts (--parts all,dataset)",
        )  # fmt: skip
    if "dataset" in parts:
        for site, tokens_of_all in merged.items():
            rows.add_dataset(site, tokens_of_all)
    _add_nulls(rows, pool, run.network, untrained, sites)
    return rows.table()


def _add_nulls(
    rows: _RankRows,
    pool: Pool,
    network: nn.Module,
    untrained: nn.Module | None,
    sites: Sequence[str],
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
            rows.add_whole(site, "gaussian", null, batch.names, batch.groups)
        if untrained is not None:
            recording, _ = recorded(untrained, batch.images, sites)
            for site in sites:
                rows.add_whole(site, "untrained", recording[site], batch.names, batch.groups)
    if len(names) > 1:
        for site in sites:
            null = nulls.shuffled(torch.cat(tokens.pop(site)), site)
            rows.add_whole(site, "shuffled", null, names, groups)


class _RankRows:
    """Rows of the table, as they come."""

    def __init__(self, run: Run) -> None:
        self._run = run_columns(run)
        self._rows = Rows(RANK)

    def add_whole(
        self, site: str, null: str, tokens: Tensor, names: Sequence[str], groups: Sequence[str]
    ) -> None:
        """One row per image, of all its tokens (B, N, C)."""
        measures = _measures_of(tokens)
        for index, image in enumerate(zip(names, groups, strict=True)):
            values = {name: column[index] for name, column in measures.items()}
            self._add_row((site, "all", null), image, tokens.shape[1:], values)

    def add_part(self, site: str, part: Part, tokens: Tensor, chosen: Tensor, batch: Batch) -> None:
        """One row per image, of its tokens that are chosen (B, N)."""
        for index, image in enumerate(zip(batch.names, batch.groups, strict=True)):
            matrix = tokens[index, chosen[index]][None]
            measures = _measures_of(matrix) if matrix.shape[1] else {}
            values = {name: column[0] for name, column in measures.items()}
            self._add_row((site, part, ""), image, matrix.shape[1:], values)

    def add_dataset(self, site: str, merged: MergedTokens) -> None:
        """One row for all tokens of the data set as one matrix."""
        values = {name: value.item() for name, value in merged.measures().items()}
        shape = (merged.tokens, merged.channels)
        self._add_row((site, "dataset", ""), ("", ""), shape, values)

    def table(self) -> pd.DataFrame:
        """``rank.csv``."""
        return self._rows.table()

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


_PLACE = ("site", "part", "null")


def _measures_of(tokens: Tensor) -> dict[str, list[float]]:
    """All measures of each token matrix, from one decomposition."""
    spectrum = spectrum_measures(singular_values(tokens))
    measures = {**spectrum, "largest_token_share": largest_token_share(tokens)}
    return {name: column.tolist() for name, column in measures.items()}
