"""The vocabulary lens: the words that the tokens leaving the layer would be, were they language."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NoReturn

import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import (
    Pool,
    Run,
    checked,
    joined,
    recorded,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.errors import SiteError
from llm4seg_probe.llm.vocabulary import Vocabulary, read_vocabulary
from llm4seg_probe.measures.tokens import foreground_tokens
from llm4seg_probe.measures.vocabulary import (
    jensen_shannon,
    largest_share,
    mean_distribution,
    vocabulary_entropy,
)
from llm4seg_probe.models.sites import sites_of
from llm4seg_probe.probes.base import NotMeasurable
from llm4seg_probe.probes.lens import LENS, LENS_WORDS, Options
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows

DRAWS = 19
"""Exchanges of masks between images: above all of them is p = 0.05, the least there can be."""

_IN_LAYER = ("attention", "layer")
_PARTS = ("foreground", "background")
_CHUNK = 2**24


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`lens_table`."""
    if not has_sites(probed.run.network, options.sites):
        _refuse_without_layer(probed.run)
    vocabulary = _vocabulary(options.source or probed.run.config.booster.source)
    table, words = lens_table(
        probed.run, probed.batches(), vocabulary, options.sites, untrained=probed.untrained
    )
    return Measurement(table, further={LENS_WORDS.name: words})


@lru_cache(maxsize=1)  # the runs of a study mostly share one
def _vocabulary(source: str) -> Vocabulary:
    return read_vocabulary(source)


def lens_table(
    run: Run,
    batches: Iterable[Batch],
    vocabulary: Vocabulary,
    sites: Sequence[str] = ("layer",),
    *,
    untrained: nn.Module | None = None,
    null_images: int = 32,
    draws: int = DRAWS,
    top: int = 10,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """``lens.csv`` and ``lens-words.csv`` of one run.

    Tokens go through the final norm and the unembedding; a part of an image has the mean of its
    tokens' distributions. One row per site and image: ``distance``, the Jensen-Shannon distance
    between the distributions of foreground and background; the entropy of either (nats);
    ``entropy``, the mean of the single tokens'; and ``top_share``, the largest share of tokens
    with the same likeliest word. Distances are empty for an image without tokens of either part.

    The words of a part are the ``top`` likeliest words of most tokens, with their share of the
    tokens, that in the other part, that where masks are exchanged between images, and their mean
    probability.

    The null bands are measured on ``null_images`` of the images with foreground:
    ``other-image``, the distance when masks are exchanged between images, ``draws`` times;
    ``shuffled``, ``gaussian``, and ``untrained`` where that network is given.

    Raises NotMeasurable in an arm without a layer; SiteError where there is no such site, or it is
    not as wide as the language model; DataError for images that the network does not take, and when
    none has any foreground.
    """
    sites = tuple(dict.fromkeys(sites))
    _check_layer(run, sites)
    lens = _LensRows(run, vocabulary, top)
    pool = Pool(null_images, foreground_only=True)
    grids: dict[str, Sequence[int]] = {}
    any_foreground = False
    for batch in checked(run, batches, sites, "Vocabulary lens"):
        recording, _ = recorded(run.network, batch.images, sites)
        any_foreground = any_foreground or bool((batch.masks > 0.5).any())
        for site in sites:
            _check_width(run, site, recording[site], vocabulary)
            grids[site] = recording.grid(site)
            lens.add(site, "", recording[site], batch, grids[site])
        pool.add(batch, {(site,): recording[site] for site in sites})
    refuse_without_foreground(
        any_foreground, run,
        "the lens compares the words of foreground and background; give images that have some",
    )  # fmt: skip
    _add_nulls(lens, pool, grids, untrained, draws)
    return lens.tables()


def has_sites(network: nn.Module, sites: Sequence[str]) -> bool:
    """Whether the network has a decoder layer, where one of these sites is in it.

    False in the arms that have none; what is not such a site at all is left to ``lens_table``.
    """
    known = sites_of(network)
    return all(site in known for site in sites if site in _IN_LAYER)


def _check_layer(run: Run, sites: Sequence[str]) -> None:
    if not has_sites(run.network, sites):
        _refuse_without_layer(run)


def _refuse_without_layer(run: Run) -> NoReturn:
    raise NotMeasurable(
        f"there is no decoder layer in arm '{run.arm}', whose output the lens would read as words: "
        "give a run with a layer, such as arm 'llm'"
    )


def _check_width(run: Run, site: str, tokens: Tensor, vocabulary: Vocabulary) -> None:
    if tokens.shape[-1] != vocabulary.width:
        raise SiteError(
            f"site '{site}' of run {run.name} has {tokens.shape[-1]} channels, but the words of "
            f"{vocabulary.source} are read from {vocabulary.width}: choose among tokens, attention "
            "and layer, and the language model that the run was trained with"
        )


def _add_nulls(
    lens: _LensRows,
    pool: Pool,
    grids: Mapping[str, Sequence[int]],
    untrained: nn.Module | None,
    draws: int,
) -> None:
    kept = pool.extras()
    batches = list(pool.batches())
    whole = joined(batches)
    for site, grid in grids.items():
        tokens = kept[(site,)]
        if len(whole.names) > 1:
            lens.add_exchanged(site, tokens, whole, grid, draws)
            lens.add(site, "shuffled", nulls.shuffled(tokens, site), whole, grid)
        lens.add(site, "gaussian", nulls.gaussian(tokens, whole.names, site), whole, grid)
    if untrained is not None:
        for batch in batches:
            recording, _ = recorded(untrained, batch.images, list(grids))
            for site in grids:
                lens.add(site, "untrained", recording[site], batch, recording.grid(site))


@dataclass
class _Words:
    """What the tokens of each part were read as: counts of likeliest words, and probabilities."""

    counts: Tensor
    sums: Tensor
    tokens: Tensor

    @classmethod
    def none(cls, size: int) -> _Words:
        zeros = torch.zeros(2, size, dtype=torch.float64)
        return cls(zeros, zeros.clone(), torch.zeros(2, dtype=torch.float64))

    @property
    def shares(self) -> Tensor:
        """Share of each part's tokens that each word is the likeliest of: (2, V)."""
        return self.counts / self.tokens[:, None]

    def add(self, words: Tensor, regions: Tensor, sums: Tensor) -> None:
        """Add tokens (N,) by likeliest word, their parts (2, N), summed probabilities (2, V)."""
        self.sums += sums
        self.tokens += regions.sum(-1)
        for counts, chosen in zip(self.counts, regions, strict=True):
            counts += torch.bincount(words[chosen], minlength=len(counts))


class _LensRows:
    """Rows of both tables, as they come."""

    def __init__(self, run: Run, vocabulary: Vocabulary, top: int) -> None:
        self._run = run_columns(run)
        self._vocabulary = vocabulary
        self._top = top
        self._rows = Rows(LENS)
        self._words: dict[tuple[str, str], _Words] = defaultdict(
            lambda: _Words.none(vocabulary.size)
        )

    def add(self, site: str, null: str, tokens: Tensor, batch: Batch, grid: Sequence[int]) -> None:
        """Read tokens (B, N, W) as words, apart by the images' own masks."""
        inside = foreground_tokens(batch.masks, grid)
        regions = torch.stack([inside, ~inside], 1)
        for index, (sums, words, entropies) in enumerate(self._read(tokens, regions)):
            self._words[site, null].add(words, regions[index], sums)
            values = {
                "entropy": entropies.mean().item(),
                "top_share": largest_share(words[None]).item(),
                **_compared(sums),
            }
            self._add_row(site, null, 0, batch, index, inside[index], values)

    def add_exchanged(
        self, site: str, tokens: Tensor, batch: Batch, grid: Sequence[int], draws: int
    ) -> None:
        """The same words, apart by the masks of other images, ``draws`` times."""
        inside = foreground_tokens(batch.masks, grid)
        lent = [
            inside[nulls.other_images(batch.names, batch.groups, "null", "exchanged", draw)]
            for draw in range(draws)
        ]
        regions = torch.stack([part for mask in lent for part in (mask, ~mask)], 1)
        for index, (sums, words, _) in enumerate(self._read(tokens, regions)):
            for draw in range(draws):
                pair = slice(2 * draw, 2 * draw + 2)
                self._words[site, "other-image"].add(words, regions[index, pair], sums[pair])
                values = _compared(sums[pair])
                self._add_row(site, "other-image", draw, batch, index, lent[draw][index], values)

    def tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """``lens.csv`` and ``lens-words.csv``."""
        words = Rows(LENS_WORDS)
        for (site, null), found in self._words.items():
            by_chance = None if null else self._words.get((site, "other-image"))
            for row in self._ranked(found, by_chance):
                words.add({**self._run, "site": site, "null": null, **row})
        return self._rows.table(), words.table()

    def _read(self, tokens: Tensor, regions: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Image by image, what tokens (B, N, W) are read as, in R regions of them (B, R, N).

        Yields the regions' summed probabilities (R, V), and each token's likeliest word and
        entropy (N,). A few images at a time pass through the unembedding.
        """
        step = max(1, _CHUNK // (tokens.shape[1] * self._vocabulary.size))
        for start in range(0, len(tokens), step):
            logits = self._vocabulary.logits(tokens[start : start + step])
            chosen = regions[start : start + step]
            for probabilities, parts in zip(logits.softmax(-1), chosen, strict=True):
                sums = (parts.float() @ probabilities).double()
                yield sums, probabilities.argmax(-1), vocabulary_entropy(probabilities)

    def _add_row(
        self,
        site: str,
        null: str,
        draw: int,
        batch: Batch,
        index: int,
        inside: Tensor,
        values: dict[str, float],
    ) -> None:
        keys = {"site": site, "null": null, "draw": draw}
        image = {"image": batch.names[index], "group": batch.groups[index]}
        sizes = {"tokens": len(inside), "foreground": int(inside.sum())}
        self._rows.add({**self._run, **keys, **image, **sizes, **values})

    def _ranked(
        self, found: _Words, by_chance: _Words | None
    ) -> list[dict[str, str | int | float]]:
        shares = found.shares
        lent = shares.new_full(shares.shape, torch.nan) if by_chance is None else by_chance.shares
        probabilities = found.sums / found.tokens[:, None]
        rows: list[dict[str, str | int | float]] = []
        for part, name in enumerate(_PARTS):
            if not found.tokens[part]:
                continue
            order = (found.counts[part] + probabilities[part]).argsort(descending=True, stable=True)
            chosen = order[: self._top].tolist()
            for place, word in enumerate(self._vocabulary.words(chosen)):
                number = chosen[place]
                rows.append(
                    {
                        "part": name,
                        "place": place + 1,
                        "word_id": number,
                        "word": repr(word),
                        "share": shares[part, number].item(),
                        "other_share": shares[1 - part, number].item(),
                        "exchanged_share": lent[part, number].item(),
                        "probability": probabilities[part, number].item(),
                    }
                )
        return rows


def _compared(sums: Tensor) -> dict[str, float]:
    """What sets the words of foreground and background (2, V) of one image apart."""
    distributions = mean_distribution(sums)
    foreground, background = vocabulary_entropy(distributions).tolist()
    return {
        "distance": jensen_shannon(*distributions).item(),
        "entropy_foreground": foreground,
        "entropy_background": background,
    }


def sentences(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Whether the words of each run can be told from noise; see :func:`lens_sentences`."""
    return lens_sentences(tables[LENS.name])


def lens_sentences(table: pd.DataFrame) -> list[str]:
    """For each run and site of ``lens.csv``, whether its words can be told from noise.

    Compared are means over the images whose masks were exchanged; p is the share of the draws,
    the measurement counted among them, whose distance is at least as large.
    """
    sentences = []
    for (run, site), rows in table.groupby(["run", "site"], sort=False):
        null = rows[(rows["null"] == "other-image") & rows["distance"].notna()]
        own = rows[(rows["null"] == "") & rows["image"].isin(null["image"])]["distance"].mean()
        start = f"{run}, {site}: foreground and background are {own:.3f} apart in words"
        by_draw = null.groupby("draw")["distance"].mean()
        if by_draw.empty or pd.isna(own):
            sentences.append(
                f"{run}, {site}: the words of too few images with foreground tokens for a null; "
                "read nothing into them."
            )
            continue
        p = (1 + int((by_draw >= own).sum())) / (1 + len(by_draw))
        band = f"{by_draw.min():.3f} to {by_draw.max():.3f} with other images' masks, p = {p:.2f}"
        if p <= 0.05:
            sentences.append(f"{start}, further than chance ({band}).")
        else:
            sentences.append(f"{start}, which is within the null ({band}): these words are noise.")
    return sentences
