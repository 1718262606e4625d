"""One plain sentence per verdict, with the numbers that it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

from llm4seg_probe.statistics.assessment import Assessment
from llm4seg_probe.statistics.correlation import Correlation
from llm4seg_probe.statistics.kinds import KINDS
from llm4seg_probe.statistics.looks import LEAST_SPENDING, Design
from llm4seg_probe.statistics.sequential import Decision
from llm4seg_probe.statistics.verdicts import Verdict

BELOW_MARGIN = "below the margin that was said to matter"


def sentence(
    assessment: Assessment, verdict: Verdict, p_adjusted: float, p_within: float, path: str = ""
) -> str:
    """Say a verdict: the pair, the effect, its interval, and what would settle the question.

    p_adjusted, p_within: of a difference, and of equivalence, after the family's adjustment.
    path: what declared looks gave (:mod:`path_sentences`), where there were any.
    """
    said = _verdict(assessment, verdict, p_adjusted, p_within, path)
    looked = [f"{path[0].upper()}{path[1:]}."] if path and verdict != "not run" else []
    return " ".join([said, *looked, *_left_out(assessment)])


def _verdict(
    assessment: Assessment, verdict: Verdict, p_adjusted: float, p_within: float, path: str
) -> str:
    row = assessment.row
    measured = _measured(assessment, p_adjusted, "repeated interval" if path else "interval")
    pair = f"{row['a']} and {row['b']}"
    if verdict == "not run":
        seen = f"(it is {row['difference']:+.3g} there)"
        if path:
            return f"Not run: {path} ({pair}: it is {row['difference']:+.3g} so far)."
        one = _counted(row["n_seeds"], _unit(assessment))
        return f"Not run: {one} cannot show a difference between {pair} {seen}."
    if verdict == "equivalent" or (
        verdict == "supported" and assessment.rules.kind == "equivalence"
    ):
        return (
            f"Equivalent: {pair} differ in {row['score']} by less than {row['margin']:g} "
            f"(p = {p_within:.2g}): {measured}."
        )
    if verdict == "inconclusive":
        outlook = "" if path else f" {_outlook(assessment)}"
        return f"Inconclusive: {row['a']} against {row['b']}: {measured}.{outlook}"
    return f"{_decided(assessment, verdict)}: {measured}."


def _left_out(assessment: Assessment) -> list[str]:
    """What was left out of the number, said beside it."""
    notes = [note for note in assessment.pair.notes if "left out" in note]
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _unit(assessment: Assessment) -> str:
    """What the runs differ in: folds of one data set are not training runs of it."""
    if assessment.rules.test_share is not None:
        return "fold"
    return "seed" if assessment.pair.paired else "run"


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
    kind = KINDS[rules.kind]
    is_small = rules.margin is not None and abs(row["difference"]) < rules.margin
    small = f", but {BELOW_MARGIN}" if is_small and kind.two_sided else ""
    return f"{verdict.capitalize()}{small}: {kind.decided(row, verdict == 'supported')}"


def _measured(assessment: Assessment, p_adjusted: float, called: str) -> str:
    row, unit = assessment.row, _unit(assessment)
    what = (
        ", corrected for shared training data," if unit == "fold" else " for another training run"
    )
    interval = (
        f" ({100 * (1 - assessment.rules.alpha):g} % {called}{what} "
        f"{row['ci_low']:+.3g} to {row['ci_high']:+.3g})"
        if isfinite(row["ci_low"])
        else ""
    )
    kind = KINDS[assessment.rules.kind]
    of = "" if kind.two_sided else f" of {kind.name}"
    p = f", p{of} = {p_adjusted:.2g}" if p_adjusted == p_adjusted else ""
    sizes = {len(assessment.pair.values_a), len(assessment.pair.values_b)}
    over = _counted(row["n_seeds"], unit)
    if unit == "run":
        n, m = len(assessment.pair.values_a), len(assessment.pair.values_b)
        over = f"{n} unpaired runs of each" if len(sizes) == 1 else f"{n} and {m} unpaired runs"
    return f"{row['difference']:+.3g} over {over}{interval}{p}"


def _outlook(assessment: Assessment) -> str:
    row, unit = assessment.row, _unit(assessment)
    if row["smallest_detectable"] != row["smallest_detectable"]:
        within = (
            "The runs of an arm do not vary"
            if unit == "run"
            else (f"The differences do not vary between {unit}s")
        )
        return f"{within}, so what they could have shown is unknown."
    could = (
        f"These {unit}s could have shown a difference of {row['smallest_detectable']:.2g} "
        "(80 % power)"
    )
    if assessment.rules.margin is None:
        return f"{could}; no margin was named, so nothing is said about equivalence."
    needed = row["seeds_needed"]
    if needed != needed:
        return f"{could}."
    many = "more than a million" if needed == float("inf") else f"{needed:.0f}"
    return f"{could}; the margin of {row['margin']:g} would take {many}."


def _counted(n: int, unit: str) -> str:
    return f"one {unit}" if n == 1 else f"{n} {unit}s"


def path_sentence(
    design: Design, decision: Decision, boundary: float, n_seeds: int, later: str = ""
) -> str:
    """Looks of one comparison in words.

    boundary: nominal p that decides at the decision's look (:func:`sequential.threshold`).
    later: what all seeds together say where some came after the decision.
    """
    if decision.look == 0:
        return below_first(design, n_seeds)
    counted = design.looks[decision.look - 1]
    place = f"look {decision.look} of {len(design.looks)} ({counted} seeds)"
    if decision.decided:
        p = "p of equivalence" if decision.verdict == "equivalent" else "p"
        overrun = _overrun(n_seeds - counted, later)
        return f"decided at {place}, boundary {p} < {_p(boundary)}{overrun}"
    crossing = (
        f"the boundary p < {_p(boundary)} is not crossed" if boundary > 0 else "nothing can stop"
    )
    return f"at {place} {crossing}{_rest(design, n_seeds, counted)}{_next(design, decision.look)}"


def below_first(design: Design, n_seeds: int) -> str:
    """The line for a comparison that has not reached its first look."""
    return f"{_seeds(n_seeds)}, and the first look is at {design.looks[0]}"


def later_sentence(difference: float, p: float, boundary: float, n_seeds: int) -> str:
    """What all seeds say after a decision: with the last look judged alone it might not stand."""
    still = "which would still cross it" if p < boundary else "which alone would not cross it"
    return f"over all {n_seeds} the difference is {difference:+.3g}, p = {p:.2g}, {still}"


def closed_looks(design: Design) -> str:
    """Which looks cannot stop a study, and why; empty where all can."""
    closed = [n for n, stops in zip(design.looks, design.can_stop, strict=True) if not stops]
    if not closed:
        return ""
    which = f"look at {closed[0]}" if len(closed) == 1 else f"looks at {_listed(closed)}"
    given = "it" if len(closed) == 1 else "each"
    return (
        f"the {which} seeds cannot stop a study: {design.spending} spending gives {given} less "
        f"than {LEAST_SPENDING:g} of the error rate"
    )


def _overrun(more: int, later: str) -> str:
    if more == 0:
        return ""
    came = (
        "one more seed came after it and decides"
        if more == 1
        else f"{more} more seeds came after it and decide"
    )
    return f"; {came} nothing (overrun)" + (f": {later}" if later else "")


def _rest(design: Design, n_seeds: int, counted: int) -> str:
    more = n_seeds - counted
    if more == 0:
        return ""
    where = "after the last look" if counted == design.looks[-1] else "between two looks"
    if more == 1:
        return f"; one more seed {where} is not counted"
    return f"; {more} more seeds {where} are not counted"


def _next(design: Design, look: int) -> str:
    if look == len(design.looks):
        return "; there is no further look"
    return f"; the next look is at {design.looks[look]}"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:-1])) + f" and {values[-1]}"


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.001 else f"{value:.2g}"


def _seeds(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"
