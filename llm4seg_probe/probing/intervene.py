"""The intervention probe: what becomes of the scores when one thing in the network is changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from llm4seg_probe import progress
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.errors import DataError
from llm4seg_probe.probing.applicable import KINDS, SITE, Options, Subject, applicable
from llm4seg_probe.probing.donors import Donors
from llm4seg_probe.probing.interventions import Intervention, intervening
from llm4seg_probe.probing.overlaps import Overlaps, logits_of, masks_of, overlaps
from llm4seg_probe.probing.passes import Run, checked, evaluating, run_columns
from llm4seg_probe.probing.rows import Rows
from llm4seg_probe.tables import INTERVENE

SHOWS = (
    "Shows how much the trained network relies on each part at test time. A network is used to "
    "what it was trained with: that a change hurts does not show that training without that part "
    "would have given less (the arms do), and that a change does not hurt may mean that "
    "something else takes over. Skips go around the layer and carry what no change there reaches."
)


@dataclass(frozen=True)
class InterveneResult:
    """The table, and by name of the intervention why it was left out."""

    table: pd.DataFrame
    skipped: dict[str, str]


def intervene_table(
    run: Run,
    batches: Iterable[Batch],
    collection: Collection,
    options: Options | None = None,
    *,
    other_seed: nn.Module | None = None,
) -> InterveneResult:
    """``intervene.csv`` of one run: scores under every intervention.

    The rows ``none`` are the network as it is, scored as an evaluation scores it: on the image's
    own grid, or, where the network sees patches, on the one patch of each image. ``iou_change``
    and ``dice_change`` are against them, image by image. ``batches``, of ``collection``, are gone
    through twice. ``other_seed`` is the network of a run of the same arm, whose layer is put in
    where layers differ between seeds. What does not apply to the arm is left out, and why is said.

    Raises ConfigError for an unknown intervention, SiteError for an unknown site, DataError for
    images that the network does not take and when none has any foreground.
    """
    options = options or Options()
    planned, skipped = applicable(Subject(run, options, other_seed))
    donors = Donors(run, batches, options.patch_sites) if options.patch_sites else None
    if "patched" not in planned:
        donors = None
    found = _Found(run)
    sites = ["logits", *(SITE for name in planned if name in ("low-rank", "direction-removed"))]
    for batch in checked(run, batches, sites, "Interventions"):
        if donors is not None:
            planned["patched"] = donors.patches(batch)
        todo = [each for settings in planned.values() for each in settings]
        _add(found, run, batch, collection, todo)
    if not found.any_foreground:
        raise DataError(
            f"no image that run {run.name} was scored on has any foreground: give images that have"
        )
    if "patched" in planned and not planned["patched"]:
        skipped["patched"] = KINDS["patched"].without
    return InterveneResult(found.table(), skipped)


def _add(
    found: _Found, run: Run, batch: Batch, collection: Collection, todo: list[Intervention]
) -> None:
    masks = masks_of(run.config, collection, batch)
    found.any_foreground |= any(bool(mask.any()) for mask in masks)

    def scored() -> Overlaps:
        return overlaps(logits_of(run.network, batch.images, run.config), masks, run.config)

    with evaluating(run.network):
        plain = scored()
        found.add(("none", ""), batch, plain, plain)
        for intervention in progress.track(todo, "Changes of these images"):
            with intervening(run.network, intervention):
                changed = scored()
            found.add((intervention.name, intervention.setting), batch, changed, plain)


class _Found:
    """Rows of the table, as they come."""

    def __init__(self, run: Run) -> None:
        self._run = run_columns(run)
        self._classes = run.config.data.classes
        self._rows = Rows(INTERVENE)
        self.any_foreground = False

    def add(self, what: tuple[str, str], batch: Batch, scores: Overlaps, plain: Overlaps) -> None:
        """One row per image and class."""
        for row in score_rows(batch, self._classes, scores, plain):
            self._rows.add({**self._run, "intervention": what[0], "setting": what[1], **row})

    def table(self) -> pd.DataFrame:
        """``intervene.csv``, the rows of each intervention together."""
        table = self._rows.table()
        as_they_came = table.groupby(["intervention", "setting"], sort=False).ngroup()
        return table.iloc[as_they_came.argsort(kind="stable")].reset_index(drop=True)


def score_rows(
    batch: Batch, classes: Iterable[str], scores: Overlaps, plain: Overlaps
) -> Iterable[dict[str, Any]]:
    """Image, group, class, scores and their change against ``plain``: a row per image and class."""
    columns = {name: values.tolist() for name, values in scores.items()}
    columns |= {
        f"{name}_change": (values - plain[name]).tolist() for name, values in scores.items()
    }
    for index, (image, group) in enumerate(zip(batch.names, batch.groups, strict=True)):
        for place, name in enumerate(classes):
            values = {column: rows[index][place] for column, rows in columns.items()}
            yield {"image": image, "group": group, "class": name, **values}
