"""Ways to draw a split. Each is a pure function of the collection and a seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict, TypeVar

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.data.collection import SIDES, Collection, Sample
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.randomness import address

TRAIN_SHARE, VAL_SHARE = 0.6, 0.2
REFERENCE_TRAIN_SHARE = 0.7
GAP_MM = 6.0
"""What is left out between two blocks of one case, in millimetres along the body."""
GAP_SLICES = 2
"""The same where the distance between slices is unknown."""
SIZE_CLASSES = 4
"""How many classes of foreground size ``groups`` balances."""

T = TypeVar("T")


class Parts(TypedDict):
    """Image names of each side."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """One way to draw a split, and what it implies."""

    summary: str
    draw: Callable[[Collection, int], Parts]
    by_unit: bool = False
    """Whole units are dealt to the sides, so that there are folds, and units can be joined."""
    within_case: bool = False
    validation_is_test: bool = False


def blocks(collection: Collection, seed: int) -> Parts:
    """Contiguous blocks of slices of every case, in random order, with a gap between them.

    60 % of a case's slices train, 20 % validate, 20 % test, after leaving out at least
    ``GAP_MM`` between blocks. Raises DataError for samples that are not slices, and for a case
    with too few of them.
    """
    cases: dict[str, list[Sample]] = {}
    for sample in collection.samples:
        cases.setdefault(sample.group, []).append(sample)
    parts = Parts(train=(), val=(), test=())
    for case, samples in cases.items():
        if any(sample.slice is None for sample in samples):
            raise DataError(
                f"{collection.name}: split 'blocks' is for slices of volumes; '{case}' is not. "
                "Use 'groups' or 'cases'"
            )
        slices = sorted(samples, key=lambda sample: sample.slice or 0)
        for side, images in _case_blocks(case, slices, seed).items():
            parts[side] += images  # type: ignore[literal-required]
    return parts


def _case_blocks(case: str, slices: list[Sample], seed: int) -> dict[str, tuple[str, ...]]:
    mm = slices[0].slice_spacing
    gap = max(1, math.ceil(GAP_MM / mm)) if mm else GAP_SLICES
    usable = len(slices) - 2 * gap
    val = max(1, round(usable * VAL_SHARE))
    if usable < 3:
        raise DataError(
            f"case '{case}' has {len(slices)} slices: too few for three blocks with gaps of {gap}. "
            "Use split 'cases'"
        )
    lengths = {"train": usable - 2 * val, "val": val, "test": val}
    found = {}
    position = 0
    for side in shuffled(list(lengths), seed, "blocks", case):
        found[side] = tuple(part.image for part in slices[position : position + lengths[side]])
        position += lengths[side] + gap
    return found


def cases(collection: Collection, seed: int) -> Parts:
    """Whole cases on one side: a fifth of them tests, a fifth validates, at least one each."""
    units = shuffled(units_of(collection), seed, "cases")
    if len(units) < 3:
        raise DataError(
            f"{collection.name} has {len(units)} cases that may be parted; split 'cases' needs 3"
        )
    held = max(1, round(len(units) * VAL_SHARE))
    sides = {"test": units[:held], "val": units[held : 2 * held], "train": units[2 * held :]}
    return by_unit(collection, {unit: side for side, those in sides.items() for unit in those})


def groups(collection: Collection, seed: int) -> Parts:
    """Random by group, stratified by the size of the foreground, or by the labels of its images.

    Groups are ordered by their mean share of foreground and cut into ``SIZE_CLASSES`` classes;
    groups of images with labels and no masks are of one class where their labels are alike. Each
    class is shuffled, and sides are dealt along the classes 60 : 20 : 20.
    """
    units = units_of(collection)
    if len(units) < 3:
        raise DataError(f"{collection.name} has {len(units)} groups; split 'groups' needs 3")
    strata = _by_labels(collection) if collection.of_labels else _by_size(collection, units)
    dealt: list[str] = []
    for number, stratum in enumerate(strata):
        dealt += shuffled(stratum, seed, "groups", number)
    pattern: tuple[str, ...] = ("train", "val", "train", "test", "train")
    if len(dealt) < len(pattern):
        pattern = ("train", "val", "test", "train")[: len(dealt)]
    offset = address(seed, "split", "groups", "offset") % len(pattern)
    sides = {unit: pattern[(i + offset) % len(pattern)] for i, unit in enumerate(dealt)}
    return by_unit(collection, sides)


def _by_size(collection: Collection, units: list[str]) -> list[list[str]]:
    share = foreground_shares(collection)
    ordered = sorted(units, key=lambda unit: (share[unit], unit))
    classes = np.array_split(np.array(ordered), min(SIZE_CLASSES, len(units)))
    return [[str(unit) for unit in stratum] for stratum in classes]


def _by_labels(collection: Collection) -> list[list[str]]:
    """Units by the shares of their images that have each class."""
    found: dict[str, list[tuple[bool, ...]]] = {}
    for sample in collection.samples:
        found.setdefault(sample.unit, []).append(sample.labels or ())
    strata: dict[tuple[float, ...], list[str]] = {}
    for unit in sorted(found):
        shares = tuple(sum(column) / len(found[unit]) for column in zip(*found[unit], strict=True))
        strata.setdefault(shares, []).append(unit)
    return [strata[shares] for shares in sorted(strata)]


def reference(collection: Collection, seed: int) -> Parts:
    """As published: 70 : 30 at random by image, whoever it is of; validation is the test set."""
    names = shuffled([sample.image for sample in collection.samples], seed, "reference")
    train = round(len(names) * REFERENCE_TRAIN_SHARE)
    order = {sample.image: i for i, sample in enumerate(collection.samples)}
    held = tuple(sorted(names[train:], key=order.__getitem__))
    return Parts(train=tuple(sorted(names[:train], key=order.__getitem__)), val=held, test=held)


def own(collection: Collection, _seed: int) -> Parts:
    """The sides that the data set itself comes with; raises DataError where it has none."""
    sides = {sample.image: sample.side for sample in collection.samples}
    if not any(sides.values()):
        raise DataError(
            f"{collection.name} does not say which image is on which side; use another split"
        )
    without = [image for image, side in sides.items() if not side]
    if without:
        named = ", ".join(without[:3]) + (", …" if len(without) > 3 else "")
        raise DataError(
            f"{collection.name}: {len(without)} of {len(sides)} images are on no side ({named}): "
            "write train, val or test for each, or take them out"
        )
    train, val, test = (
        tuple(image for image, found in sides.items() if found == side) for side in SIDES
    )
    return Parts(train=train, val=val, test=test)


KINDS: dict[str, Kind] = {
    "blocks": Kind("contiguous slices with a gap, the same people", blocks, within_case=True),
    "cases": Kind("whole cases", cases, by_unit=True),
    "groups": Kind("by group, stratified by size of the foreground", groups, by_unit=True),
    "reference": Kind(
        "70/30 by image, validation is test, as published",
        reference,
        within_case=True,
        validation_is_test=True,
    ),
    "own": Kind("as the data set itself says", own),
}


def check_by_unit(kind: str, otherwise: str) -> None:
    """Raise DataError for an unknown kind, and for one that does not deal whole units."""
    if kind not in KINDS:
        raise DataError(unknown("split", kind, KINDS))
    if not KINDS[kind].by_unit:
        having = ", ".join(name for name, entry in KINDS.items() if entry.by_unit)
        raise DataError(f"split '{kind}' {otherwise}; choose one of: {having}")


def units_of(collection: Collection) -> list[str]:
    """What a split must not part, in the order of their names."""
    return sorted({sample.unit for sample in collection.samples})


def by_unit(collection: Collection, side_of: Mapping[str, str]) -> Parts:
    """The images of each side, in the collection's order, from the side of each unit."""
    chosen = {
        side: tuple(s.image for s in collection.samples if side_of[s.unit] == side)
        for side in SIDES
    }
    return Parts(train=chosen["train"], val=chosen["val"], test=chosen["test"])


def foreground_shares(collection: Collection) -> dict[str, float]:
    """Mean share of foreground of each unit's images; raises DataError for an unreadable one."""
    shares: dict[str, list[float]] = {}
    for sample in progress.track(collection.samples, "Measuring the foreground"):
        mask = collection.read_to_train(sample).mask
        shares.setdefault(sample.unit, []).append(float(mask.any(axis=0).mean()))
    return {unit: sum(found) / len(found) for unit, found in shares.items()}


def shuffled(items: Sequence[T], seed: int, *use: int | str) -> list[T]:
    """The items in an order drawn from the address (seed, "split", use)."""
    order = np.random.default_rng(address(seed, "split", *use)).permutation(len(items))
    return [items[i] for i in order]
