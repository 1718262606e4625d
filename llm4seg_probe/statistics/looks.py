"""Looks declared beforehand, and the p below which each of them may stop a study.

A design spends its error rate over its looks. ``pocock``: the same threshold at every look.
``obrien-fleming``: by n seeds of n_max the share 2 (1 − Φ(z / √t)), t = n / n_max, is spent
(Lan & DeMets, Biometrika 70, 1983; z: the two-sided normal quantile of the level), next to
nothing early; a look that would spend less than 1e-6 cannot stop. Looks that were not declared
spend what the declared ones would have spent by then, in proportion between two of them.

Thresholds are known for every level, so that Holm's steps and the repeated p (the smallest level
whose boundary a p crosses) come from one table per design: of common designs in
``thresholds.json``, of others computed in a second or two and kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from llm4seg_probe.errors import ConfigError, unknown
from llm4seg_probe.statistics.boundaries import NullPath
from llm4seg_probe.storage import cache_folder, write_json

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Spending = Literal["pocock", "obrien-fleming"]

LEAST_SPENDING = 1e-6
MOST_LOOKS = 50
VERSION = 1
"""Of the tables in the cache: raise it when the computation changes."""

_SCORES = np.arange(-2.4, 6.41, 0.2)
"""Normal scores of the levels (or nominal p) that a table has: 0.99 down to 1e-10."""

_LEVELS = np.asarray(ndtr(-_SCORES))


@dataclass(frozen=True)
class Design:
    """Numbers of seeds at which a study is looked at, fixed before the data.

    Raises ConfigError for looks that are none, do not grow, or are below two seeds.

    Examples
    --------
    >>> Design((5, 10, 20)).reached(12)
    2
    """

    looks: tuple[int, ...]
    alpha: float = 0.05
    spending: Spending = "pocock"

    def __post_init__(self) -> None:
        if not self.looks:
            raise ConfigError("looks: name at least one number of seeds, such as 5,10,20")
        for look in self.looks:
            if isinstance(look, bool) or not isinstance(look, int) or look < 2:
                raise ConfigError(f"looks: {look!r} is no number of seeds from 2 on")
        for before, after in zip(self.looks[:-1], self.looks[1:], strict=True):
            if after <= before:
                raise ConfigError(
                    f"looks must grow, but {after} comes after {before}: write them as 5,10,20"
                )
        if len(self.looks) > MOST_LOOKS:
            raise ConfigError(f"looks: {len(self.looks)} are too many, give at most {MOST_LOOKS}")
        if not 0 < self.alpha < 0.5:
            raise ConfigError(f"alpha is {self.alpha}: give a number between 0 and 0.5")
        if self.spending not in get_args(Spending):
            raise ConfigError(unknown("spending", str(self.spending), get_args(Spending)))

    def reached(self, n_seeds: int) -> int:
        """Number of looks that so many seeds reach."""
        return sum(look <= n_seeds for look in self.looks)

    @property
    def can_stop(self) -> tuple[bool, ...]:
        """Whether each look spends enough to stop a study."""
        if self.spending == "pocock":
            return (True,) * len(self.looks)
        spent = _obrien_fleming(np.array(self.looks) / self.looks[-1], self.alpha)
        return tuple(bool(each >= LEAST_SPENDING) for each in np.diff(spent, prepend=0.0))


def parse_looks(text: str) -> tuple[int, ...]:
    """Looks as the command line takes them: numbers of seeds between commas.

    Raises ConfigError that shows how they are written.

    Examples
    --------
    >>> parse_looks("5, 10,20")
    (5, 10, 20)
    """
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    wrong = [piece for piece in pieces if not (piece.isascii() and piece.isdigit())]
    if wrong or not pieces:
        seen = f"'{wrong[0]}' is no number of seeds" if wrong else "there is none"
        raise ConfigError(f"looks: {seen}. Write numbers of seeds between commas, such as 5,10,20")
    return Design(tuple(int(piece) for piece in pieces)).looks


class Levels:
    """Thresholds of a design by level, and levels by p.

    nominal: (G, K), thresholds of G levels at K looks, 0 where the look cannot stop. level: (G,),
    falling.
    """

    def __init__(self, level: Vector, nominal: Matrix) -> None:
        self.level = level
        self.nominal = nominal
        self._curves = [_Curve.of(column, level) for column in nominal.T]
        self._known: dict[float, tuple[float, ...]] = {}

    def attained(self, look: int, p: ArrayLike) -> Vector:
        """Smallest level at which p crosses the boundary of a look (from 0); 1 where none does.

        NaN stays NaN.
        """
        curve, values = self._curves[look], np.asarray(p, dtype=np.float64)
        if curve is None:
            return np.where(np.isnan(values), np.nan, 1.0)
        return curve.level(values)

    def thresholds(self, level: float) -> tuple[float, ...]:
        """Nominal p below which each look stops a study at this level; 0 where it cannot."""
        if level not in self._known:
            self._known[level] = tuple(
                0.0 if curve is None else curve.threshold(level) for curve in self._curves
            )
        return self._known[level]


@dataclass(frozen=True)
class _Curve:
    """Level by nominal p at one look, both as normal scores, interpolated without overshoot."""

    smooth: Callable[[ArrayLike], Any]
    low: float
    high: float
    ratio: float
    """Level over p where p is smaller than in the table; infinite to stay at its last level."""

    @classmethod
    def of(cls, nominal: Vector, level: Vector) -> _Curve | None:
        x, y = -ndtri(nominal), -ndtri(level)
        # Thresholds fall with the level; where rounding says otherwise, the larger level is kept.
        good = np.isfinite(x) & (x > np.maximum.accumulate(np.append(-np.inf, x[:-1])))
        if good.sum() < 2:
            return None
        x, y = x[good], y[good]
        return cls(PchipInterpolator(x, y), float(x[0]), float(x[-1]), float(ndtr(-y[-1])))

    def level(self, p: Vector) -> Vector:
        score = -ndtri(np.clip(p, 0.0, 1.0))
        inside = ndtr(-self.smooth(np.clip(score, self.low, self.high)))
        last = ndtr(-self.high)
        beyond = self.ratio * np.clip(p, 0.0, last) / last
        found = np.where(score > self.high, beyond, np.where(score < self.low, 1.0, inside))
        return np.asarray(np.where(np.isnan(p), np.nan, found))

    def threshold(self, level: float) -> float:
        score = float(-ndtri(level))
        if score >= float(self.smooth(self.high)):
            return float(ndtr(-self.high) * level / self.ratio)
        if score <= float(self.smooth(self.low)):
            return float(ndtr(-self.low))
        root = brentq(lambda x: float(self.smooth(x)) - score, self.low, self.high, xtol=1e-13)
        return float(ndtr(-root))


def levels(design: Design, sides: int = 2, taken: Sequence[int] | None = None) -> Levels:
    """Thresholds of a design for two-sided tests, or for one-sided ones (``sides=1``).

    taken: the looks that were made, where they are others than the declared ones.

    Examples
    --------
    >>> [round(each, 4) for each in levels(Design((5, 10, 20, 40))).thresholds(0.05)]
    [0.0151, 0.0151, 0.0151, 0.0151]
    """
    if taken is not None and tuple(taken) != design.looks:
        taken = Design(tuple(taken)).looks
        level, nominal = _undeclared(design, sides, taken)
        return Levels(level, nominal)
    return _levels(design.looks, design.spending, sides, design.can_stop)


@cache
def _levels(
    looks: tuple[int, ...], spending: Spending, sides: int, can_stop: tuple[bool, ...]
) -> Levels:
    key = table_key(looks, spending, sides, can_stop)
    values = _committed().get(key) or _cached(key)
    if values is None:
        values = tabulate(looks, spending, sides, can_stop).tolist()
        with suppress(OSError):
            write_json(_place(key), {"key": key, "values": values})
    table = np.array(values, dtype=np.float64)
    if spending == "obrien-fleming":
        return Levels(_LEVELS, table)
    return Levels(table, np.repeat(_nominal(sides)[:, None], len(looks), axis=1))


def table_key(
    looks: tuple[int, ...], spending: Spending, sides: int, can_stop: tuple[bool, ...]
) -> str:
    """Name under which a table is stored.

    Examples
    --------
    >>> table_key((5, 10), "obrien-fleming", 2, (False, True))
    '1 obrien-fleming 2 5 10 closed 5'
    """
    closed = [n for n, stops in zip(looks, can_stop, strict=True) if not stops]
    return " ".join(
        map(str, (VERSION, spending, sides, *looks, *(["closed"] if closed else []), *closed))
    )


def tabulate(
    looks: tuple[int, ...], spending: Spending, sides: int, can_stop: tuple[bool, ...]
) -> NDArray[np.float64]:
    """Compute a design's table.

    Pocock: (G,), the levels that constant thresholds give. O'Brien-Fleming: (G, K), the thresholds
    of levels. Both over the same normal scores.
    """
    path = NullPath(looks)
    if spending == "pocock":
        return _below_one([path.exits([p] * len(looks), sides).sum() for p in _nominal(sides)])
    fractions = np.array(looks) / looks[-1]
    return np.array(
        [
            path.thresholds(_increments(_obrien_fleming(fractions, level), can_stop), sides)
            for level in _LEVELS
        ]
    )


@cache
def _undeclared(design: Design, sides: int, taken: tuple[int, ...]) -> tuple[Vector, Matrix]:
    """The same for looks that were not declared: each spends what was to be spent by then."""
    if design.spending == "obrien-fleming":
        level = _LEVELS
        fractions = np.minimum(np.array(taken) / design.looks[-1], 1.0)
        spent = [_obrien_fleming(fractions, each) for each in level]
    else:
        declared = NullPath(design.looks)
        exits = [declared.exits([p] * len(design.looks), sides) for p in _nominal(sides)]
        level = _below_one([each.sum() for each in exits])
        at = [0, *design.looks]
        spent = [np.interp(taken, at, np.append(0.0, np.cumsum(each))) for each in exits]
    stops = np.diff(spent[int(np.argmin(abs(level - design.alpha)))], prepend=0.0)
    can_stop = tuple(bool(each >= LEAST_SPENDING) for each in stops)
    path = NullPath(taken)
    return level, np.array([path.thresholds(_increments(each, can_stop), sides) for each in spent])


def _nominal(sides: int) -> Vector:
    """Nominal p of a table's rows: nearly 1, where the first look stops all, down to 1e-10."""
    if sides == 1:
        return _LEVELS
    return np.asarray(2 * ndtr(-np.append([0.002, 0.05, 0.1], _SCORES[_SCORES > 0.15])))


def _below_one(level: Sequence[float]) -> Vector:
    return np.minimum(level, 1 - 1e-9)


def _obrien_fleming(fractions: Vector, level: float) -> Vector:
    """What is spent of a level by each fraction of the last look's seeds."""
    return np.asarray(2 * ndtr(ndtri(level / 2) / np.sqrt(fractions)))


def _increments(spent: Vector, can_stop: Sequence[bool]) -> Vector:
    """What each look spends; what a look that cannot stop would have spent goes to the next."""
    found, before = np.zeros(len(spent)), 0.0
    for k, stops in enumerate(can_stop):
        if stops:
            found[k], before = spent[k] - before, spent[k]
    return found


@cache
def _committed() -> dict[str, list[Any]]:
    text = files("llm4seg_probe.statistics").joinpath("thresholds.json").read_text("utf-8")
    tables: dict[str, list[Any]] = json.loads(text)
    return tables


def _place(key: str) -> Path:
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cache_folder() / "thresholds" / f"{name}.json"


def _cached(key: str) -> list[Any] | None:
    """A table that was computed before; one that cannot be read is computed again."""
    try:
        stored = json.loads(_place(key).read_text("utf-8"))
        values = np.array(stored["values"], dtype=np.float64)
        whole = stored["key"] == key and len(values) > 1 and bool(np.isfinite(values).all())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return list(stored["values"]) if whole else None
