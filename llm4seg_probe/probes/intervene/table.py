"""The intervention probe: what becomes of the scores when one thing in the network is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import nn

from llm4seg_probe import progress
from llm4seg_probe.activations.interventions import Intervention, intervening
from llm4seg_probe.activations.passes import (
    Run,
    checked,
    evaluating,
    refuse_without_foreground,
    run_columns,
)
from llm4seg_probe.arms import ARMS
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.probes.effects import (
    Overlaps,
    effects,
    masks_of,
    overlaps,
    say_notes,
    single_pass,
)
from llm4seg_probe.probes.intervene import INTERVENE, INTERVENE_EFFECTS, Options
from llm4seg_probe.probes.intervene.catalogue import (
    CATALOGUE,
    SITE,
    Donors,
    Subject,
    applicable,
    parts_of,
)
from llm4seg_probe.probes.overflow import refuse_overflow
from llm4seg_probe.probes.probed import Measurement, ProbedRun, Source
from llm4seg_probe.probes.result import Rows


def measure(probed: ProbedRun, options: Options) -> Measurement:
    """Measure one run; see :func:`intervene_table`.

    What does not apply is said, and left out. Where layers differ between seeds, the run is given
    the layer of the next seed of its arm among the others.
    """
    following = _next_seed(probed)
    other = None if following is None else following.open()
    if other is not None:
        refuse_overflow(other)
    found = intervene_table(
        probed.run,
        probed.evaluated(),
        probed.collection,
        options,
        other_seed=None if other is None else other.run.network,
    )
    by_reason: dict[str, list[str]] = {}
    for name, reason in found.skipped.items():
        by_reason.setdefault(reason, []).append(name)
    left_out = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
    return Measurement(found.table, left_out=tuple(left_out))


def _next_seed(probed: ProbedRun) -> Source | None:
    """The run of the next seed of the same arm, the last one's being the first's.

    None where there is no other, or the layer does not differ between seeds.
    """
    run = probed.run
    if "layer of its own seed" not in parts_of(ARMS[run.config.arm]):
        return None
    seeds: dict[int, Source] = {}
    for other in probed.others:
        config = other.config
        if config.arm == run.arm and config.seed != run.seed:
            seeds.setdefault(config.seed, other)
    later = [seed for seed in sorted(seeds) if seed > run.seed]
    return seeds[(later or sorted(seeds))[0]] if seeds else None


def changes(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """``intervene-effects.csv``; which intervals are missing, and why, is said."""
    found = effects(tables[INTERVENE.name], ["intervention", "setting"], ["none", ""])
    say_notes(found)
    return {INTERVENE_EFFECTS.name: found}


def summarise(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The changes of IoU."""
    found = tables[INTERVENE_EFFECTS.name]
    shown = ["arm", "intervention", "setting", "n_seeds", "mean", "change", "ci_low", "ci_high"]
    return found.loc[found["score"] == "iou", shown]


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
    donors = Donors(run, batches, options.sites) if options.sites else None
    if "patched" not in planned:
        donors = None
    rows = _InterveneRows(run)
    looked_at = ["logits", *(SITE for name in planned if name in ("low-rank", "direction-removed"))]
    for batch in checked(run, batches, looked_at, "Interventions"):
        if donors is not None:
            planned["patched"] = donors.patches(batch)
        todo = [each for settings in planned.values() for each in settings]
        _add(rows, run, batch, collection, todo)
    refuse_without_foreground(rows.any_foreground, run)
    if "patched" in planned and not planned["patched"]:
        skipped["patched"] = CATALOGUE["patched"].without
    return InterveneResult(rows.table(), skipped)


def _add(
    rows: _InterveneRows, run: Run, batch: Batch, collection: Collection, todo: list[Intervention]
) -> None:
    masks = masks_of(run.config, collection, batch)
    rows.any_foreground |= any(bool(mask.any()) for mask in masks)

    def scored() -> Overlaps:
        return overlaps(single_pass(run.network, batch.images, run.config), masks, run.config)

    with evaluating(run.network):
        plain = scored()
        rows.add(("none", ""), batch, plain, plain)
        for intervention in progress.track(todo, "Changes of these images"):
            with intervening(run.network, intervention):
                changed = scored()
            rows.add((intervention.name, intervention.setting), batch, changed, plain)


class _InterveneRows:
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
