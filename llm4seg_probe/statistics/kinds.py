"""The kinds of claims: one registry of what each tests, when it is decided, and its words.

| kind | the claim | its opposite |
| --- | --- | --- |
| superiority | a is better than b | a is worse than b |
| non-inferiority | a is not worse than b by the margin | a is worse by more than the margin |
| equivalence | a and b differ by less than the margin | they differ by more than the margin |

A further kind is an entry of :data:`KINDS` and its name in :data:`Kind`. An association is a claim
of another form (:mod:`llm4seg_probe.statistics.association`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llm4seg_probe.statistics.paired_tests import Estimate, above, below

Kind = Literal["superiority", "non-inferiority", "equivalence"]
Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """p-values of one comparison, before any adjustment.

    p: the one reported, two-sided for superiority. supports, opposes: p of the claim and of its
    opposite; for superiority the two-sided p on the side where the difference lies, 1 on the
    other. one_sided: p of the claim alone, by which several comparisons are ranked.
    """

    p: float
    supports: float
    opposes: float
    one_sided: float
    within_margin: float


class Distances(NamedTuple):
    """Mean differences over their standard errors, (studies, looks); a higher score is better.

    From none at all, from the margin below and from the margin above.
    """

    from_none: Vector
    from_below: Vector
    from_above: Vector


@dataclass(frozen=True)
class ClaimKind:
    """What a claim of one kind tests, when a path of looks decides it, and how it is put.

    two_sided : whether its p is two-sided, so that the claim and its opposite share one test.
    needs_margin : whether it cannot be tested without one.
    sides : sides of each test of :class:`Evidence`, in the order of its fields.
    evidence : p-values of a difference that is better where it is higher, from the estimate, the
        margin and the p of equivalence.
    crossed : which looks support the claim, and which its opposite, from the distances and the
        critical ones of a test with so many sides.
    sign : between a and b in one line, with ``{better}`` for > or <.
    decided : a and b where the claim is supported (true) or its opposite, from a row of
        ``comparison.csv``.
    method : the test, in the text on methods.
    takes : what it takes to support the claim, on the page.
    """

    name: Kind
    two_sided: bool
    needs_margin: bool
    sides: tuple[int, int, int, int, int]
    evidence: Callable[[Estimate, float, float], Evidence]
    crossed: Callable[[Distances, Callable[[int], Vector]], tuple[Mask, Mask]]
    sign: str
    decided: Callable[[Mapping[str, Any], bool], str]
    method: str
    takes: str


def _superiority(better: Estimate, margin: float, within: float) -> Evidence:
    higher, lower = above(better, 0.0), below(better, 0.0)
    two_sided = min(1.0, 2 * min(higher, lower))
    supports, opposes = (two_sided, 1.0) if better.difference > 0 else (1.0, two_sided)
    return Evidence(two_sided, supports, opposes, higher, within)


def _non_inferiority(better: Estimate, margin: float, within: float) -> Evidence:
    supports, opposes = above(better, -margin), below(better, -margin)
    return Evidence(supports, supports, opposes, supports, within)


def _equivalence(better: Estimate, margin: float, within: float) -> Evidence:
    beyond = min(above(better, margin), below(better, -margin))
    apart = min(1.0, 2 * beyond)  # with a narrow margin either side alone would use up alpha
    return Evidence(within, within, apart, within, within)


def _better_or_worse(row: Mapping[str, Any], supported: bool) -> str:
    direction = "higher" if row["difference"] > 0 else "lower"
    return f"{row['a']} has a {direction} {row['score']} than {row['b']}"


def _not_worse(row: Mapping[str, Any], supported: bool) -> str:
    is_worse = "is not worse" if supported else "is worse"
    return f"{row['a']} {is_worse} than {row['b']} by {row['margin']:g}"


def _alike(row: Mapping[str, Any], supported: bool) -> str:
    by = "less" if supported else "more"
    return f"{row['a']} and {row['b']} differ by {by} than {row['margin']:g}"


KINDS: dict[str, ClaimKind] = {
    kind.name: kind
    for kind in (
        ClaimKind(
            "superiority",
            two_sided=True,
            needs_margin=False,
            sides=(2, 2, 2, 1, 1),
            evidence=_superiority,
            crossed=lambda t, critical: (t.from_none > critical(2), -t.from_none > critical(2)),
            sign="{better}",
            decided=_better_or_worse,
            method="superiority",
            takes="It is supported where a is better than b, by the adjusted p, in each of its "
            "comparisons.",
        ),
        ClaimKind(
            "non-inferiority",
            two_sided=False,
            needs_margin=True,
            sides=(1, 1, 1, 1, 1),
            evidence=_non_inferiority,
            crossed=lambda t, critical: (t.from_below > critical(1), -t.from_below > critical(1)),
            sign="not worse ({better}) than",
            decided=_not_worse,
            method="non-inferiority (one-sided, 90 % interval above −margin)",
            takes="It is supported where the 90 % interval of a − b lies above −margin: that no "
            "difference was found is not enough.",
        ),
        ClaimKind(
            "equivalence",
            two_sided=False,
            needs_margin=True,
            sides=(1, 1, 2, 1, 1),
            evidence=_equivalence,
            crossed=lambda t, critical: (
                np.minimum(t.from_below, -t.from_above) > critical(1),
                np.maximum(t.from_above, -t.from_below) > critical(2),
            ),
            sign="≈",
            decided=_alike,
            method="equivalence (two one-sided tests)",
            takes="It is supported where the 90 % interval of a − b lies within the margin: that "
            "no difference was found is not enough.",
        ),
    )
}
