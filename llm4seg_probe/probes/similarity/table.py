"""The similarity probe: how alike the features of two sites, two arms or two seeds are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from llm4seg_probe import progress
from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import Pool, Run, checked, recorded, run_columns
from llm4seg_probe.activations.recorder import Grid
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.measures.similarity import linear_cka, mean_cosine, procrustes_similarity
from llm4seg_probe.models.sites import sites_of
from llm4seg_probe.probes.overflow import refuse_overflow, told_of_no_numbers
from llm4seg_probe.probes.probed import Measurement, Source
from llm4seg_probe.probes.result import Rows
from llm4seg_probe.probes.similarity import SIMILARITY, Options
from llm4seg_probe.randomness import generator
from llm4seg_probe.storage import atomically
from llm4seg_probe.training.compute import computing

Between = Literal["sites", "arms", "seeds"]
_OF_A_LAYER = ("tokens", "attention", "layer")
_FEWEST_TOKENS = 4


def measure_together(sources: Sequence[Source], options: Options) -> Measurement:
    """Measure the runs; only two features are in memory at a time, the others in a folder."""
    samples = []
    with TemporaryDirectory() as temporary:
        for number, source in enumerate(progress.track(sources, "Features")):
            probed = source.open()
            compute = probed.run.config.compute
            with computing(compute), told_of_no_numbers(probed.run):
                refuse_overflow(probed, options)
                found = sampled_features(
                    probed.run,
                    probed.batches(),
                    options.sites,
                    Path(temporary) / str(number),
                    images=options.images,
                    tokens=options.tokens,
                )
            if probed.data is not None:
                found = found.on(probed.collection.name)
            samples.append(found)
        with computing(compute):
            return Measurement(similarity_table(samples))


@dataclass(frozen=True)
class Sampled:
    """The features of one run at some sites, of a sample of tokens, kept in files."""

    columns: Mapping[str, str | int]
    """``run, dataset, arm, seed``."""
    condition: str
    """What the run is a repetition of: its configuration without the seed."""
    images: tuple[str, ...]
    grids: Mapping[str, Grid]
    files: Mapping[str, Path]

    def on(self, dataset: str) -> Sampled:
        """The same, with the name of the data set that was really looked at."""
        return replace(self, columns={**self.columns, "dataset": dataset})

    def features(self, site: str) -> Tensor:
        """Tokens (I, P, C) float32: P at the same positions of each of the I images."""
        return torch.from_numpy(np.load(self.files[site], allow_pickle=False))


def sampled_features(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str],
    folder: Path,
    *,
    images: int = 64,
    tokens: int = 2048,
) -> Sampled:
    """Record a run's features at the sites, and keep a sample of them in ``folder``.

    The ``images`` of lowest address are looked at, the same for all runs; of a grid that gives
    more than ``tokens`` tokens over them, the same positions of each image are kept, drawn by
    address. ``tokens``, ``attention`` and ``layer`` are left out of a run without a decoder
    layer.

    Raises SiteError for another site that the network does not have; DataError for images that
    it does not take.
    """
    here = [site for site in dict.fromkeys(sites) if not _is_of_a_layer_elsewhere(run, site)]
    pool = Pool(images)
    for batch in checked(run, batches, here or ("logits",), "Features"):
        pool.add(batch)
    names: list[str] = []
    grids: dict[str, Grid] = {}
    kept: dict[str, list[Tensor]] = {site: [] for site in here}
    count = math.ceil(tokens / len(pool))
    for batch in pool.batches():
        names += batch.names
        recording, _ = recorded(run.network, batch.images, here)
        for site in here:
            grids[site] = recording.grid(site)
            kept[site].append(recording[site][:, positions(grids[site], count)].float())
    files = {}
    for number, site in enumerate(here):
        files[site] = folder / f"{number}.npy"
        with atomically(files[site]) as partial:
            np.save(partial, torch.cat(kept.pop(site)).numpy(), allow_pickle=False)
    condition = run.config.model_copy(update={"seed": 0}).model_dump_json()
    return Sampled(run_columns(run), condition, tuple(names), grids, files)


def positions(grid: Grid, count: int) -> Tensor:
    """At most ``count`` positions of a grid in raster order, drawn by its address.

    >>> positions((2, 2), 9).tolist(), len(positions((8, 8), 5))
    ([0, 1, 2, 3], 5)
    """
    every = torch.randperm(math.prod(grid), generator=generator("similarity", *grid))
    return every[:count].sort().values


def similarity_table(runs: Sequence[Sampled]) -> pd.DataFrame:
    """``similarity.csv``: a row for each pair that can be compared, and one for its null.

    ``between`` says what differs: the site within a run; the arm (or other settings) at the same
    seed and site; the seed in the same arm at the same site. The null ``shuffled`` exchanges the
    second one's tokens between images at the same position. The cosine is empty where the two
    have different numbers of channels. Two matrices are in memory at a time. What cannot be
    compared, because the grids differ, is said.

    Raises DataError when the runs saw different images; SiteError when no pair is left.
    """
    _refuse_different_images(runs)
    wanted = list(_pairs(runs))
    pairs = [pair for pair in wanted if pair.comparable]
    for message in dict.fromkeys(pair.refusal for pair in wanted if not pair.comparable):
        progress.say(message)
    if not pairs:
        raise SiteError(_nothing_to_compare(runs, bool(wanted)))
    rows = Rows(SIMILARITY)
    for pair in progress.track(pairs, "Similarity"):
        for row in pair.rows():
            rows.add(row)
    return rows.table()


@dataclass(frozen=True)
class _Pair:
    between: Between
    first: Sampled
    site: str
    second: Sampled
    other_site: str

    @property
    def comparable(self) -> bool:
        return self.first.grids[self.site] == self.second.grids[self.other_site]

    @property
    def refusal(self) -> str:
        one, other = (
            f"{' × '.join(map(str, run.grids[site]))} tokens at {site} of {run.columns['arm']}"
            for run, site in ((self.first, self.site), (self.second, self.other_site))
        )
        return f"Not compared, for want of the same tokens: {one}, and {other}"

    def rows(self) -> Iterator[dict[str, object]]:
        """The row of this pair and that of its null."""
        x, y = self.first.features(self.site), self.second.features(self.other_site)
        other = {f"other_{name}": value for name, value in self.second.columns.items()}
        del other["other_dataset"]
        keys = {**self.first.columns, "site": self.site, **other, "other_site": self.other_site}
        sizes = {"images": len(x), "tokens": x[..., 0].numel(), "channels": x.shape[-1],
                 "other_channels": y.shape[-1]}  # fmt: skip
        seen = {"": y}
        if len(y) > 1:
            seen["shuffled"] = nulls.shuffled(y, "similarity")
        for null, partner in seen.items():
            yield {
                **keys,
                "null": null,
                "between": self.between,
                **sizes,
                **_similarities(x, partner),
            }


def _similarities(x: Tensor, y: Tensor) -> dict[str, float]:
    x, y = (tokens.flatten(0, 1)[None] for tokens in (x, y))
    if x.shape[1] < _FEWEST_TOKENS:
        raise DataError(
            f"{x.shape[1]} tokens are too few to say how alike features are: give more images"
        )
    found = {"cka": linear_cka(x, y).item(), "procrustes": procrustes_similarity(x, y).item()}
    if x.shape == y.shape:
        found["cosine"] = mean_cosine(x, y).item()
    return found


def _pairs(runs: Sequence[Sampled]) -> Iterator[_Pair]:
    for run in runs:
        for site, other in itertools.combinations(run.grids, 2):
            yield _Pair("sites", run, site, run, other)
    for first, second in itertools.combinations(runs, 2):
        same_seed = first.columns["seed"] == second.columns["seed"]
        same_condition = first.condition == second.condition
        if same_seed == same_condition:
            continue
        for site in first.grids:
            if site in second.grids:
                yield _Pair("arms" if same_seed else "seeds", first, site, second, site)


def _is_of_a_layer_elsewhere(run: Run, site: str) -> bool:
    return site in _OF_A_LAYER and site not in sites_of(run.network)


def _refuse_different_images(runs: Sequence[Sampled]) -> None:
    for other in runs[1:]:
        if other.images != runs[0].images:
            raise DataError(
                f"runs {runs[0].columns['run']} and {other.columns['run']} have different test "
                "images, so their features are not of the same tokens; give runs of one split, or "
                "--data"
            )


def _nothing_to_compare(runs: Sequence[Sampled], any_wanted: bool) -> str:
    found = ", ".join(dict.fromkeys(site for run in runs for site in run.grids)) or "none"
    if any_wanted:
        return f"no two of the sites ({found}) have the same grid of tokens: choose others"
    return (
        f"nothing to compare: {len(runs)} run{'s' * (len(runs) > 1)} with the sites {found}; give "
        "two sites, or runs of the same seed, or of the same arm"
    )
