"""A data set before training: what is wrong with it, and how it is split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from PIL.Image import Image

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.checks import Checked, check_collection
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.contact_sheet import LARGEST, chosen, sheet_of
from llm4seg_probe.data.datasets import (
    listed_collection,
    names_that_are_no_text,
    open_collection,
)
from llm4seg_probe.data.findings import Finding, merged
from llm4seg_probe.data.near_duplicates import (
    DISTANCE,
    check_distance,
    clusters_of,
    kept_together,
)
from llm4seg_probe.data.partition import KINDS, check_by_unit
from llm4seg_probe.data.splits import SIDES, Split, draw_folds, split_of, unchecked_split
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.pseudonyms import Pseudonyms
from llm4seg_probe.reading.names import as_utf8
from llm4seg_probe.storage import atomically


@dataclass(frozen=True, eq=False)
class CheckResult:
    """What `data check` found."""

    collection: Collection
    checked: Checked
    numbers: Pseudonyms = field(default_factory=lambda: Pseudonyms({}))
    """What images and patients are called in all that is shown; by their names without any."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings as they are shown."""
        return tuple(_without_names(finding, self.numbers) for finding in self.checked.findings)

    def sheets(self) -> dict[str, Callable[[], Image]]:
        """How each contact sheet is drawn, by its file's name.

        One of the set, images with findings first, and one of near-duplicates side by side; none
        where there is nothing to show.
        """
        collection, checked = self.collection, self.checked
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
        wanted = {
            "contact-sheet.png": (chosen(checked.readable, list(kinds)), captions),
            "duplicates.png": (tuple(clusters)[:LARGEST], clusters),
        }
        return {
            name: partial(sheet_of, collection, shown, said, self.numbers.name)
            for name, (shown, said) in wanted.items()
            if shown
        }

    def save_sheets(self, out: Path) -> tuple[Path, ...]:
        """Write the contact sheets; those of a check before this one go."""
        for name in ("contact-sheet.png", "duplicates.png"):
            (out / name).unlink(missing_ok=True)
        written = []
        for name, draw in self.sheets().items():
            with atomically(out / name) as partial_path:
                draw().save(partial_path)
            written.append(out / name)
        return tuple(written)


@dataclass(frozen=True, eq=False)
class SplitResult:
    """The splits that were drawn, by the names of their files."""

    collection: Collection
    splits: dict[str, Split]
    clusters: tuple[tuple[str, ...], ...]
    """Near-duplicates that were kept together."""

    def save(self, out: Path) -> tuple[Path, ...]:
        """Store each split in a folder; returns the files."""
        for name, split in self.splits.items():
            split.save(out / name)
        return tuple(out / name for name in self.splits)


def check_data(
    name: str,
    *,
    classes: tuple[str, ...] = (FOREGROUND,),
    split: str | None = None,
    seed: int = 0,
    distance: int = DISTANCE,
    pseudonyms: bool = False,
) -> CheckResult:
    """Check a data set.

    ``split`` is a kind or the path of a stored one. With ``pseudonyms`` patients and images have
    numbers in all that is shown. Raises DataError where the set cannot even be listed.
    """
    check_distance(distance)
    collection = listed_collection(name, classes=classes)
    drawn, failure = _split(collection, split, seed)
    checked = check_collection(collection, drawn, distance)
    if wrong := list(names_that_are_no_text(collection)):
        found = merged([*wrong, *checked.findings])
        checked = Checked(found, checked.readable, checked.clusters)
    if failure:
        checked = Checked(merged([*checked.findings, failure]), checked.readable, checked.clusters)
    return CheckResult(collection, checked, _numbers(collection) if pseudonyms else Pseudonyms({}))


def _numbers(collection: Collection) -> Pseudonyms:
    images = {sample.image for sample in collection.samples}
    return Pseudonyms.of({sample.unit for sample in collection.samples} - images, images)


def _without_names(finding: Finding, numbers: Pseudonyms) -> Finding:
    images = tuple(as_utf8(numbers.within_paths(numbers.name(name))) for name in finding.images)
    return replace(finding, images=images, what=as_utf8(numbers.within_paths(finding.what)))


def split_data(
    name: str,
    *,
    classes: tuple[str, ...] = (FOREGROUND,),
    kind: str = "groups",
    folds: int | None = None,
    seed: int = 0,
    group_duplicates: bool = False,
    distance: int = DISTANCE,
) -> SplitResult:
    """Draw a split or k folds: ``split.json``, or ``fold-0.json`` and so on.

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
        found = {"split.json": split_of(parted, config)}
    else:
        drawn = draw_folds(parted, kind, folds, seed)
        found = {f"fold-{number}.json": split for number, split in enumerate(drawn)}
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
