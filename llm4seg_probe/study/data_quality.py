"""A data set before training, with everything that is written about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.checking import Checked, check_collection
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.contact_sheet import LARGEST, chosen, draw_sheet
from llm4seg_probe.data.findings import Finding, findings_table, merged
from llm4seg_probe.data.folds import draw_folds
from llm4seg_probe.data.near_duplicates import (
    DISTANCE,
    check_distance,
    clusters_of,
    kept_together,
)
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import SIDES, Split, split_of, unchecked_split
from llm4seg_probe.data.splitting import KINDS, check_by_unit
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.tables import CHECK, write_table


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `data check` found, and what it wrote."""

    collection: Collection
    checked: Checked
    table: Path
    sheets: tuple[Path, ...]


@dataclass(frozen=True, eq=False)
class SplitResult:
    """The splits that were drawn, and where they are stored."""

    collection: Collection
    splits: dict[Path, Split]
    clusters: tuple[tuple[str, ...], ...]
    """Near-duplicates that were kept together."""


def check_data(
    name: str,
    out: Path,
    *,
    classes: tuple[str, ...] = (FOREGROUND,),
    split: str | None = None,
    seed: int = 0,
    distance: int = DISTANCE,
) -> CheckResult:
    """Check a data set and write ``check.csv`` and the contact sheets.

    ``split`` is a kind or the path of a stored one. Raises DataError where the set cannot even be
    listed.
    """
    check_distance(distance)
    collection = open_collection(name, classes=classes)
    drawn, failure = _split(collection, split, seed)
    checked = check_collection(collection, drawn, distance)
    if failure:
        checked = Checked(merged([*checked.findings, failure]), checked.readable, checked.clusters)
    write_table(findings_table(checked.findings), out / CHECK.name, CHECK)
    return CheckResult(collection, checked, out / CHECK.name, _sheets(collection, checked, out))


def split_data(
    name: str,
    out: Path,
    *,
    classes: tuple[str, ...] = (FOREGROUND,),
    kind: str = "groups",
    folds: int | None = None,
    seed: int = 0,
    group_duplicates: bool = False,
    distance: int = DISTANCE,
) -> SplitResult:
    """Draw a split or k folds and store them as ``split.json``, or ``fold-0.json`` and so on.

    With ``group_duplicates`` near-duplicates of different groups stay on one side. Raises
    DataError where the data cannot be split that way.
    """
    check_distance(distance)
    collection = open_collection(name, classes=classes)
    clusters: tuple[tuple[str, ...], ...] = ()
    parted = collection
    if group_duplicates:
        check_by_unit(kind, "parts groups, so that it cannot keep near-duplicates together")
        clusters = clusters_of(collection, distance)
        parted = kept_together(collection, clusters)
    if folds is None:
        config = DataConfig(split=_kind(kind), split_seed=seed)
        found = {out / "split.json": split_of(parted, config)}
    else:
        drawn = draw_folds(parted, kind, folds, seed)
        found = {out / f"fold-{number}.json": split for number, split in enumerate(drawn)}
    for path, split in found.items():
        split.save(path)
    return SplitResult(collection, found, clusters)


def side_counts(collection: Collection, split: Split) -> str:
    """How many images and groups each side has, in one line."""
    said = []
    for side in SIDES:
        images = split.side(side)
        groups = {collection.sample(image).unit for image in images}
        said.append(f"{side} {len(images)} images of {len(groups)} groups")
    return ", ".join(said)


def _kind(kind: str) -> str:
    if kind not in KINDS:
        raise DataError(unknown("split", kind, KINDS))
    return kind


def _split(
    collection: Collection, split: str | None, seed: int
) -> tuple[Split | None, Finding | None]:
    """The split as asked for, or the finding that it cannot be had."""
    if split is None:
        return None, None
    try:
        return unchecked_split(collection, DataConfig(split=split, split_seed=seed)), None
    except DataError as error:
        return None, Finding("error", "split", (), str(error), "Draw another split (`data split`)")


def _sheets(collection: Collection, checked: Checked, out: Path) -> tuple[Path, ...]:
    """A sheet of the set, those with findings first, and one of near-duplicates side by side."""
    kinds: dict[str, list[str]] = {}
    for finding in checked.findings:
        for image in finding.images:
            kinds.setdefault(image, []).append(finding.kind)
    captions = {image: ", ".join(dict.fromkeys(found)) for image, found in kinds.items()}
    clusters = {
        image: f"cluster {number}"
        for number, cluster in enumerate(checked.clusters, 1)
        for image in cluster
    }
    written = []
    for name, shown, said in (
        ("contact-sheet.png", chosen(checked.readable, list(kinds)), captions),
        ("duplicates.png", tuple(clusters)[:LARGEST], clusters),
    ):
        (out / name).unlink(missing_ok=True)
        if shown:
            draw_sheet(out / name, collection, shown, said)
            written.append(out / name)
    return tuple(written)
