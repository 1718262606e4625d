"""One plain sentence per verdict, with the numbers that it rests on."""

from __future__ import annotations

from typing import Any

from llm4seg_probe.statistics.assessing import Assessment
from llm4seg_probe.statistics.correlation import Correlation
from llm4seg_probe.statistics.verdicts import Verdict

BELOW_MARGIN = "below the margin that was said to matter"


def sentence(assessment: Assessment, verdict: Verdict, p_adjusted: float) -> str:
    """What was found, in words: the effect, its interval, and what would settle the question."""
    row = assessment.row
    measured = _measured(assessment, p_adjusted)
    pair = f"{row['a']} and {row['b']}"
    if verdict == "not run":
        seen = f"(it is {row['difference']:+.3g} there)"
        return f"Not run: {_seeds(row['n_seeds'])} cannot show a difference between {pair} {seen}."
    if verdict == "equivalent" or (
        verdict == "supported" and assessment.rules.kind == "equivalence"
    ):
        return (
            f"Equivalent: {pair} differ in {row['score']} by less than {row['margin']:g} "
            f"(p = {row['p_equivalence']:.2g}): {measured}."
        )
    if verdict == "inconclusive":
        return f"Inconclusive: {measured}. {_outlook(row)}"
    return f"{_decided(assessment, verdict)}: {measured}."


def association_sentence(
    row: dict[str, Any], names: tuple[str, str], found: Correlation, margin: float, alpha: float
) -> str:
    """The same for a correlation within arms; ``row`` holds its numbers by column of claims.csv."""
    x, y = names
    measured = (
        f"r = {found.r:+.2f} within {found.groups} arms, over {found.n} runs "
        f"({100 * (1 - alpha):g} % interval {row['ci_low']:+.2f} to {row['ci_high']:+.2f}), "
        f"p = {row['p_adjusted']:.2g}"
    )
    across = (
        ""
        if found.across != found.across
        else f" Across the {found.groups} arm means, which decide nothing, r = {found.across:+.2f}."
    )
    if row["verdict"] == "equivalent":
        weak = f"{x} and {y} correlate by less than {margin:g} (p = {row['p_equivalence']:.2g})"
        return f"Equivalent: {weak}: {measured}.{across}"
    if row["verdict"] == "inconclusive":
        could = f"a correlation of {row['smallest_detectable']:.2f} (80 % power)"
        needed = f"{row['seeds_needed']:.0f} seeds of each arm"
        return (
            f"Inconclusive: {measured}. These runs could have shown {could}; the margin of "
            f"{margin:g} would take {needed}.{across}"
        )
    direction = "higher" if found.r > 0 else "lower"
    small = f", but {BELOW_MARGIN}" if abs(found.r) < margin else ""
    effect = f"runs with a higher {x} than others of their arm have a {direction} {y}"
    return f"{row['verdict'].capitalize()}{small}: {effect}: {measured}.{across}"


def _decided(assessment: Assessment, verdict: Verdict) -> str:
    row, rules = assessment.row, assessment.rules
    if rules.kind == "non-inferiority":
        is_worse = "is worse" if verdict == "contradicted" else "is not worse"
        return f"{verdict.capitalize()}: {row['a']} {is_worse} than {row['b']} by {row['margin']:g}"
    if rules.kind == "equivalence":
        return f"Contradicted: {row['a']} and {row['b']} differ by more than {row['margin']:g}"
    direction = "higher" if row["difference"] > 0 else "lower"
    small = f", but {BELOW_MARGIN}" if abs(row["difference"]) < rules.margin else ""
    effect = f"{row['a']} has a {direction} {row['score']} than {row['b']}"
    return f"{verdict.capitalize()}{small}: {effect}"


def _measured(assessment: Assessment, p_adjusted: float) -> str:
    row = assessment.row
    interval = (
        f" ({100 * (1 - assessment.rules.alpha):g} % interval for another training run "
        f"{row['ci_low']:+.3g} to {row['ci_high']:+.3g})"
        if row["ci_low"] == row["ci_low"]
        else ""
    )
    kind = assessment.rules.kind
    of = "" if kind == "superiority" else f" of {kind}"
    p = f", p{of} = {p_adjusted:.2g}" if p_adjusted == p_adjusted else ""
    return f"{row['difference']:+.3g} over {_seeds(row['n_seeds'])}{interval}{p}"


def _outlook(row: dict[str, Any]) -> str:
    if row["smallest_detectable"] != row["smallest_detectable"]:
        return "The seeds do not vary, so what they could have shown is unknown."
    could = (
        f"These seeds could have shown a difference of {row['smallest_detectable']:.2g} "
        "(80 % power)"
    )
    needed = row["seeds_needed"]
    if needed != needed:
        return f"{could}."
    many = "more than a million" if needed == float("inf") else f"{needed:.0f}"
    return f"{could}; the margin of {row['margin']:g} would take {many}."


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"
