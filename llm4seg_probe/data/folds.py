"""K folds: every unit is tested once, sides never share one, sizes of the foreground balance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.splitting import (
    VAL_SHARE,
    by_unit,
    check_by_unit,
    foreground_shares,
    shuffled,
    units_of,
)
from llm4seg_probe.errors import DataError


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
