"""The attention probe: where each head of the layer looks, beside what its mask alone would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from llm4seg_probe.activations import nulls
from llm4seg_probe.activations.passes import (
    Pool,
    Run,
    checked,
    evaluating,
    recorded,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.measures.attention import attention_measures
from llm4seg_probe.measures.tokens import foreground_pixels, foreground_tokens
from llm4seg_probe.models.sites import boosters_of
from llm4seg_probe.probes.attention import ATTENTION, Options
from llm4seg_probe.probes.attention.weights import (
    Attention,
    Pixel,
    QueryMaps,
    See,
    attending,
    centre_of_largest_region,
    check_query,
    has_attention,
)
from llm4seg_probe.probes.base import NotMeasurable
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`attention_table`."""
    table, arrays = attention_table(
        probed.run, probed.batches(), query=options.query, untrained=probed.untrained
    )
    return Measurement(table, arrays)


def attention_table(
    run: Run,
    batches: Iterable[Batch],
    *,
    query: Pixel | None = None,
    untrained: nn.Module | None = None,
    null_images: int = 32,
    gallery: int = 4,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """``attention.csv`` of one run, and the arrays of ``attention.npz`` for some of its images.

    One row per layer, head and image; measures as in :func:`attention_measures`. A foreground
    token is one of which at least half lies in the mask; an image without any has no foreground
    share.

    The null bands are measured on ``null_images`` of the images with foreground:
    ``other-image``, the foreground share under the mask of another image; ``shuffled``, the
    tokens that enter the layer exchanged between images at the same position; ``untrained``
    where that network is given.

    The arrays are of ``gallery`` images, at least one, the first of these, different groups
    first: attention from the pixel ``query`` of the image as the network sees it (row and column,
    before them depth in 3D), or from the centre of its largest foreground region.

    Raises NotMeasurable for a run without attention; DataError for images that the network does not
    take, when no image has any foreground, and for a query outside the images.
    """
    if not has_attention(run.network):
        raise NotMeasurable(
            f"there is no attention in arm '{run.arm}': give a run with a decoder layer, such as "
            "arm 'llm'"
        )
    rows = _AttentionRows(run)
    pool = Pool(max(null_images, gallery), foreground_only=True)
    for batch in checked(run, batches, ("logits",), "Attention"):
        if query is not None:
            check_query(run, batch.images.shape[2:], query)
        pool.add(batch)
        with attending(run.network, rows.adding("", batch)):
            recorded(run.network, batch.images, ())
    refuse_without_foreground(
        rows.any_foreground, run, "none fills half of a token; give images with masks, or larger"
    )
    _add_nulls(rows, run, pool, null_images, untrained)
    return rows.table(), _query_maps(run, next(pool.batches(gallery, gallery)), query)


def _query_maps(run: Run, batch: Batch, query: Pixel | None) -> dict[str, np.ndarray]:
    inside = foreground_pixels(batch.masks, batch.images.ndim - 2)
    pixels = [query or centre_of_largest_region(mask) for mask in inside]
    maps = QueryMaps(run, batch, pixels)
    with attending(run.network, maps.see()):
        recorded(run.network, batch.images, ())
    return maps.arrays()


def _add_nulls(
    rows: _AttentionRows, run: Run, pool: Pool, count: int, untrained: nn.Module | None
) -> None:
    parts = list(pool.batches(count))
    names = [name for part in parts for name in part.names]
    groups = [group for part in parts for group in part.groups]
    if untrained is not None:
        for part in parts:
            with attending(untrained, rows.adding("untrained", part)):
                recorded(untrained, part.images, ())
    if len(names) < 2:
        return
    masks = torch.cat([part.masks for part in parts])[nulls.other_images(names, groups)]
    tokens = []
    for part, others in _with_their_share(parts, masks):
        with attending(run.network, rows.adding("other-image", part, others)):
            recording, _ = recorded(run.network, part.images, ["tokens"])
        tokens.append(recording["tokens"])
    exchanged = nulls.shuffled(torch.cat(tokens), "tokens")
    _, booster = next(boosters_of(run.network))
    for part, of_others in _with_their_share(parts, exchanged):
        with evaluating(run.network), attending(run.network, rows.adding("shuffled", part)):
            booster.middle(of_others.to(booster.adapter1.weight.device), recording.grid("tokens"))


def _with_their_share(parts: Sequence[Batch], values: Tensor) -> Iterator[tuple[Batch, Tensor]]:
    """Each batch with what belongs to its images, of values (I, …) for the images of all."""
    start = 0
    for part in parts:
        yield part, values[start : start + len(part.names)]
        start += len(part.names)


class _AttentionRows:
    """Rows of the table, as they come."""

    def __init__(self, run: Run) -> None:
        self._run = run_columns(run)
        self._rows = Rows(ATTENTION)
        self.any_foreground = False

    def adding(self, null: str, batch: Batch, other_masks: Tensor | None = None) -> See:
        """What measures each image of a batch; with other images' masks, their share alone."""
        masks = batch.masks if other_masks is None else other_masks

        def see(one: Attention) -> None:
            inside = foreground_tokens(masks[one.image : one.image + 1], one.grid)
            found = attention_measures(one.weights[None], one.visible, one.grid, inside)
            if other_masks is not None:
                found = {name: found[name] for name in found if name.startswith("foreground")}
            image = {"image": batch.names[one.image], "group": batch.groups[one.image]}
            place = {"place": one.place, "layer": one.layer, "null": null}
            self._add_heads({**place, **image}, found, inside)
            self.any_foreground |= bool(inside.any())

        return see

    def _add_heads(
        self, keys: Mapping[str, object], found: dict[str, Tensor], inside: Tensor
    ) -> None:
        sizes = {"tokens": inside.numel(), "foreground_tokens": int(inside.sum())}
        columns = {name: values[0].tolist() for name, values in found.items()}
        heads: Sequence[float] = next(iter(columns.values()))
        for head in range(len(heads)):
            values = {name: column[head] for name, column in columns.items()}
            self._rows.add({**self._run, **keys, "head": head + 1, **sizes, **values})

    def table(self) -> pd.DataFrame:
        """``attention.csv``."""
        return self._rows.table()
