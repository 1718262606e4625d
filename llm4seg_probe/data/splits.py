"""Splits of cases in training, validation and test: stored, fingerprinted, checked for leaks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data.collection import SIDES as SIDES
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.partition import (
    KINDS,
    VAL_SHARE,
    by_unit,
    check_by_unit,
    foreground_shares,
    shuffled,
    units_of,
)
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.reading.bounds import reason
from llm4seg_probe.reading.names import is_there, refuse_other_than_file, shown
from llm4seg_probe.reading.text import read_json_object, read_text
from llm4seg_probe.storage import write_json


def draw_folds(collection: Collection, kind: str, folds: int, seed: int) -> tuple[Split, ...]:
    """One split per fold: the fold tests, and a fifth of the rest chooses the epoch.

    ``groups`` is stratified by each unit's mean share of foreground, ``cases`` is not. Test sides
    partition the collection, and no unit is on two sides of a split. Raises DataError for a kind
    without folds, and for fewer units than folds.
    """
    check_by_unit(kind, "has no folds")
    units = units_of(collection)
    if not 2 <= folds <= len(units) or len(units) - math.ceil(len(units) / folds) < 2:
        raise DataError(
            f"{collection.name} has {len(units)} groups that may be parted: too few for "
            f"{folds} folds that each leave one to train on and one to choose by"
            if folds >= 2
            else f"{folds} folds: there are at least 2"
        )
    order = _ordered(collection, units, kind, seed)
    return tuple(
        Split(
            name=f"{kind}, fold {number} of {folds}",
            dataset=collection.name,
            dataset_fingerprint=collection.fingerprint,
            seed=seed,
            within_case=False,
            validation_is_test=False,
            **by_unit(collection, side_of),
        )
        for number, side_of in enumerate(fold_sides(order, folds, seed))
    )


def fold_sides(ordered: Sequence[str], folds: int, seed: int) -> list[dict[str, str]]:
    """The side of each unit in each fold.

    Neighbours in the order are alike: each run of ``folds`` of them is dealt to as many folds, and
    of each run of about five that are left one validates. Wants two units left by every fold.
    """
    fold_of: dict[str, int] = {}
    for start in range(0, len(ordered), folds):
        run = ordered[start : start + folds]
        chosen = shuffled(range(folds), seed, "folds", folds, start)
        fold_of |= dict(zip(run, chosen, strict=False))
    sides = []
    for number in range(folds):
        rest = [unit for unit in ordered if fold_of[unit] != number]
        side_of = {unit: "train" if fold_of[unit] != number else "test" for unit in ordered}
        for part in np.array_split(np.arange(len(rest)), max(1, round(len(rest) * VAL_SHARE))):
            names = [rest[i] for i in part]
            place = ("folds", folds, number, "val", int(part[0]))
            side_of[shuffled(names, seed, *place)[0]] = "val"
        sides.append(side_of)
    return sides


def _ordered(collection: Collection, units: list[str], kind: str, seed: int) -> list[str]:
    if kind == "cases":
        return shuffled(units, seed, "folds", "cases")
    share: Mapping[str, float] = foreground_shares(collection)
    return sorted(units, key=lambda unit: (share[unit], unit))


@dataclass(frozen=True)
class Problem:
    """One reason why training on a split would be wrong."""

    kind: Literal["split", "leak"]
    """``leak``: the same image or group on two sides; ``split``: anything else."""
    images: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Split:
    """Names of the images on each side, and what must be said about them in every report."""

    name: str
    """How it was drawn: a name of ``KINDS``, or that of the stored file."""
    dataset: str
    dataset_fingerprint: str
    seed: int
    within_case: bool
    """The same people are on both sides: scores say nothing about new people."""
    validation_is_test: bool
    """The best epoch is chosen on the images that are reported on: scores flatter."""
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over everything the split says, as hexadecimal text."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def caveats(self) -> tuple[str, ...]:
        """Sentences that every report on this split repeats."""
        said = []
        if self.within_case:
            said.append(
                "The same people are in training and test (within_case: true): nothing here "
                "speaks of new patients."
            )
        if self.validation_is_test:
            said.append("Validation is test: the reported images also chose the epoch.")
        return tuple(said)

    def side(self, name: str) -> tuple[str, ...]:
        """Image names of ``train``, ``val`` or ``test``."""
        if name not in SIDES:
            raise DataError(unknown("split side", name, SIDES))
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or a checkpoint, the fingerprint with them."""
        return {**asdict(self), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Split:
        """The split from what :meth:`to_dict` gave; raises DataError when it was changed."""
        try:
            _refuse_other_types(values)
            fields = {name: value for name, value in values.items() if name != "fingerprint"}
            split = cls(**{**fields, **{side: tuple(values[side]) for side in SIDES}})
        except (TypeError, KeyError) as error:
            raise DataError(f"not a stored split ({reason(error)})") from error
        if values["fingerprint"] != split.fingerprint:
            raise DataError("the split was changed since it was stored (its fingerprint differs)")
        return split

    def save(self, path: Path) -> None:
        """Write the split as JSON, its fingerprint with it."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Split:
        """Read a stored split; raises DataError when it is none or was changed by hand."""
        path = Path(path)
        refuse_other_than_file(path, DataError)
        if not is_there(path):
            raise DataError(f"no such split: {shown(str(path), 300)}. {_kinds()}")
        nnunet = (
            "; nnU-Net's splits hold folds of another kind: a split of ours is written by "
            "llm4seg-probe data split, or read from lists (x_train.txt, x_val.txt, x_test.txt)"
        )
        try:
            values = read_json_object(path, DataError)
        except DataError as error:
            why = str(error).removeprefix(f"{path}: ")
            more = nnunet if path.name.startswith("splits_final") else ""
            raise DataError(f"{path}: not a stored split ({why}){more}") from error
        try:
            return cls.from_dict(values)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error


_TYPES = {
    **dict.fromkeys(("name", "dataset", "dataset_fingerprint", "fingerprint"), str),
    "seed": int,
    **dict.fromkeys(("within_case", "validation_is_test"), bool),
}


def _refuse_other_types(values: Mapping[str, Any]) -> None:
    """Raise TypeError or KeyError where a field is of another type, or missing."""
    lacking = [name for name in (*_TYPES, *SIDES, "fingerprint") if name not in values]
    if lacking:
        raise TypeError(f"it has no {lacking[0]}")
    for name, kind in _TYPES.items():
        if not isinstance(values[name], kind):
            raise TypeError(f"{name} is {shown(repr(values[name]))}")
    for side in SIDES:
        names = values[side]
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise TypeError(f"{side} is no list of names")


def split_of(collection: Collection, data: DataConfig) -> Split:
    """The split that a configuration asks for, drawn or read, and checked against the data.

    Raises DataError: an unknown kind, a side without images, a group on two sides, or a stored
    split of another data set.
    """
    split = unchecked_split(collection, data)
    check(split, collection)
    return split


def unchecked_split(collection: Collection, data: DataConfig) -> Split:
    """The split that a configuration asks for, whatever is wrong with its sides.

    Raises DataError: an unknown kind, a split that cannot be drawn, or a stored one of another
    data set.
    """
    if data.split in KINDS:
        return _drawn(collection, data)
    if data.split.endswith(".json"):
        split = Split.load(Path(data.split))
        _same_data(split, collection, data.split)
        return split
    if data.split.endswith("_train.txt"):
        return from_lists(collection, Path(data.split))
    raise DataError(
        f"data.split: {unknown('split', data.split, KINDS)}, or the path of a stored split "
        "(.json) or of a list (…_train.txt)"
    )


def from_lists(collection: Collection, train_list: Path) -> Split:
    """The split of the reference implementation's lists, one image name a line.

    ``NAME_train.txt`` stands beside ``NAME_val.txt``; validation is test, unless there is a
    ``NAME_test.txt``. ``within_case`` is whether a group really is on both sides.
    """
    train = _names_in(train_list)
    val = _names_in(train_list.with_name(train_list.name.replace("_train.txt", "_val.txt")))
    test_list = train_list.with_name(train_list.name.replace("_train.txt", "_test.txt"))
    test = _names_in(test_list) if is_there(test_list) else val
    return Split(
        name=train_list.stem,
        dataset=collection.name,
        dataset_fingerprint=collection.fingerprint,
        seed=0,
        within_case=bool(_units(collection, train) & _units(collection, (*val, *test))),
        validation_is_test=not is_there(test_list),
        train=train,
        val=val,
        test=test,
    )


def _names_in(path: Path) -> tuple[str, ...]:
    try:
        lines = read_text(path, DataError).splitlines()
    except DataError as error:
        why = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: not a readable list of images ({why})") from error
    return tuple(line.strip() for line in lines if line.strip())


def _drawn(collection: Collection, data: DataConfig) -> Split:
    kind = KINDS[data.split]
    return Split(
        name=data.split,
        dataset=collection.name,
        dataset_fingerprint=collection.fingerprint,
        seed=data.split_seed,
        within_case=kind.within_case,
        validation_is_test=kind.validation_is_test,
        **kind.draw(collection, data.split_seed),
    )


def check(split: Split, collection: Collection) -> None:
    """Raise DataError with the first of :func:`problems`, where there is one."""
    for problem in problems(split, collection):
        raise DataError(problem.what)


def problems(split: Split, collection: Collection) -> Iterator[Problem]:
    """Everything that would make training on the split wrong.

    That is: an empty side, a name that the data set does not have, an image on two sides, or a
    group on two sides although ``within_case`` is false.
    """
    sides = {name: split.side(name) for name in SIDES}
    known = {sample.image: sample for sample in collection.samples}
    for name, images in sides.items():
        if not images:
            yield Problem(
                "split",
                (),
                f"split '{split.name}' of {split.dataset}: no images in {name} "
                f"({', '.join(f'{side} {len(found)}' for side, found in sides.items())}). "
                "Use another split or more data",
            )
        for image in images:
            if image not in known:
                nearest = unknown("image", image, list(known)[:20])
                yield Problem("split", (image,), f"{collection.name}: {nearest}")
    pairs = [("train", "val"), ("train", "test")]
    pairs += [] if split.validation_is_test else [("val", "test")]
    for a, b in pairs:
        here, there = ([known[image] for image in sides[side] if image in known] for side in (a, b))
        yield from _shared(split, (a, here), (b, there))


def _shared(
    split: Split, here: tuple[str, list[Sample]], there: tuple[str, list[Sample]]
) -> Iterator[Problem]:
    """Images, then groups, that are on both of two sides."""
    (a, first), (b, second) = here, there
    for image in sorted({s.image for s in first} & {s.image for s in second}):
        what = f"split '{split.name}': image '{image}' is in {a} and in {b}"
        yield Problem("leak", (image,), what)
    if split.within_case:
        return
    for unit in sorted({s.unit for s in first} & {s.unit for s in second}):
        images = tuple(dict.fromkeys(s.image for s in (*first, *second) if s.unit == unit))
        yield Problem(
            "leak",
            images,
            f"split '{split.name}': group '{unit}' is in {a} and in {b}, which would "
            "leak. Split by group, or declare within_case: true in a stored split",
        )


def _units(collection: Collection, images: tuple[str, ...]) -> set[str]:
    return {collection.sample(image).unit for image in images}


def _same_data(split: Split, collection: Collection, path: str) -> None:
    if split.dataset_fingerprint != collection.fingerprint:
        raise DataError(
            f"{path}: is a split of {split.dataset} "
            f"({split.dataset_fingerprint[:12]}…), not of {collection.name} as it is here "
            f"({collection.fingerprint[:12]}…)"
        )


def _kinds() -> str:
    return f"Give the path of a stored split, or one of: {', '.join(KINDS)}"
