"""The maps probe: where the features respond, against the mask, by site, class and image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
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
from llm4seg_probe.measures.activation import (
    Reduction,
    Threshold,
    activation_map,
    map_iou,
    map_measures,
    resized_maps,
)
from llm4seg_probe.probes.maps import MAPS, Options
from llm4seg_probe.probes.maps.gallery import gallery_arrays, predicted_labels
from llm4seg_probe.probes.probed import Measurement, ProbedRun
from llm4seg_probe.probes.result import Rows

Maps = dict[tuple[str, ...], Tensor]

_NOTHING = torch.empty(0)


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`maps_table`."""
    table, arrays = maps_table(
        probed.run, probed.batches(), options.sites, untrained=probed.untrained,
        gallery=options.gallery,
    )  # fmt: skip
    return Measurement(table, arrays)


def maps_table(
    run: Run,
    batches: Iterable[Batch],
    sites: Sequence[str] = ("before", "after"),
    *,
    reductions: Sequence[Reduction] = ("mean_abs",),
    thresholds: Sequence[Threshold] = ("otsu", 0.5, "oracle"),
    untrained: nn.Module | None = None,
    null_images: int = 32,
    gallery: int = 6,
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """``maps.csv`` of one run, and the arrays of ``maps.npz`` for ``gallery`` of its images.

    One row per site, class, reduction, threshold and image. A further column ``inverted`` says
    that the map is brighter outside the mask than inside (AUROC below 0.5); it and all measures
    are empty for an image without that class.

    The null bands are measured on ``null_images`` of the images with foreground: ``other-image``,
    the map of another image (of another group, if there is one), and ``untrained`` where that
    network is given. The gallery shows the first of these images, different groups first, and
    the maps of the first reduction.

    Raises SiteError for an unknown site; DataError for images that the network does not take,
    and when none has any foreground.
    """
    sites = tuple(dict.fromkeys(sites))
    rows = _MapRows(run, sites, reductions, thresholds)
    pool = Pool(max(null_images, gallery), foreground_only=True)
    for batch in checked(run, batches, sites, "Activation maps"):
        maps, logits = rows.maps(run.network, batch.images)
        rows.add("", maps, batch)
        predictions = predicted_labels(logits, run.config)
        pool.add(batch, {**maps, ("predictions",): predictions})
    refuse_without_foreground(
        len(pool) > 0, run, "activation maps are compared with masks; give images that have some"
    )
    _add_nulls(rows, pool, null_images, untrained)
    shown = pool.extras(gallery)
    arrays = gallery_arrays(
        run,
        joined(pool.batches(gallery)),
        {site: shown.get((site, reductions[0]), _NOTHING) for site in sites},
        shown.get(("predictions",), _NOTHING),
    )
    return rows.table(), arrays


def _add_nulls(rows: _MapRows, pool: Pool, count: int, untrained: nn.Module | None) -> None:
    whole = joined(pool.batches(count))
    if len(whole.names) > 1:
        partners = nulls.other_images(whole.names, whole.groups)
        kept = pool.extras(count)
        others: Maps = {place: kept[place][partners] for place in rows.places}
        rows.add("other-image", others, whole)
    if untrained is not None:
        for batch in pool.batches(count):
            rows.add("untrained", rows.maps(untrained, batch.images)[0], batch)


class _MapRows:
    """Rows of the table, as they come."""

    def __init__(
        self,
        run: Run,
        sites: Sequence[str],
        reductions: Sequence[Reduction],
        thresholds: Sequence[Threshold],
    ) -> None:
        self._run = run_columns(run)
        self._classes = run.config.data.classes
        self._sites = sites
        self._reductions = reductions
        self._thresholds = thresholds
        self._rows = Rows(MAPS)

    @property
    def places(self) -> list[tuple[str, Reduction]]:
        """Site and reduction of each map."""
        return [(site, reduction) for site in self._sites for reduction in self._reductions]

    def maps(self, network: nn.Module, images: Tensor) -> tuple[Maps, Tensor]:
        """The maps (B, *grid) of one pass, by site and reduction, and the logits."""
        recording, logits = recorded(network, images, self._sites)
        maps: Maps = {
            (site, reduction): activation_map(recording[site], recording.grid(site), reduction)
            for site, reduction in self.places
        }
        return maps, logits

    def add(self, null: str, maps: Maps, batch: Batch) -> None:
        """Measure maps against the masks of a batch, class by class."""
        for (site, reduction), found in maps.items():
            values = resized_maps(found, batch.masks.shape[2:])
            for index, name in enumerate(self._classes):
                place = {"site": site, "class": name, "reduction": reduction, "null": null}
                self._add_class(place, values, batch.masks[:, index] > 0.5, batch)

    def _add_class(self, place: dict[str, str], maps: Tensor, masks: Tensor, batch: Batch) -> None:
        columns = {name: column.tolist() for name, column in map_measures(maps, masks).items()}
        for threshold in self._thresholds:
            columns["iou"] = map_iou(maps, masks, threshold).tolist()
            for index, (image, group) in enumerate(zip(batch.names, batch.groups, strict=True)):
                values = {name: column[index] for name, column in columns.items()}
                keys = {**self._run, **place, "threshold": str(threshold)}
                self._rows.add({**keys, "image": image, "group": group, **values})

    def table(self) -> pd.DataFrame:
        """``maps.csv``."""
        frame = self._rows.table()
        is_below_chance = (frame["auroc"] < 0.5).astype("boolean")
        frame["inverted"] = is_below_chance.mask(frame["auroc"].isna())
        return frame
