"""Audit of a table with a row per run, or per run and case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import TableError
from llm4seg_probe.score_names import default_margin, direction, own_name
from llm4seg_probe.statistics.assessment import assess
from llm4seg_probe.statistics.audit.checks import Inspected, inspect
from llm4seg_probe.statistics.audit.result import Audit, Design, Test
from llm4seg_probe.statistics.bootstrap import FEWEST_GROUPS
from llm4seg_probe.statistics.compare import Question, comparison
from llm4seg_probe.statistics.findings import Finding
from llm4seg_probe.statistics.pairs import Paired, chosen_baseline, pairs_in
from llm4seg_probe.statistics.reader import Asked, Reading, read
from llm4seg_probe.statistics.remarks import notes_of, remarks
from llm4seg_probe.statistics.roles import NAMES
from llm4seg_probe.statistics.rows import as_text
from llm4seg_probe.statistics.table_file import TableFile

_FEW_PATIENTS = "too few for an interval over patients"
"""Of a comparison's note that the checks of the whole table have already."""


def audited(file: TableFile, asked: Asked, question: Question) -> Audit:
    """Audit a table of single results; see :func:`audit.audit`."""
    own = read(file, asked)
    direction(own.score, question.lower_is_better)  # refused, where the file's own name says two
    reading, guessed = _with_runs(_by_our_name(own))
    arms = as_text(reading.table[reading.columns.arm]).drop_duplicates().tolist()
    base, how = chosen_baseline(arms, question.wanted.baseline)
    margin = question.margin
    if margin is None:
        margin = default_margin(reading.score, reading.largest)
    wanted = replace(question.wanted, baseline=base)
    question = replace(question, wanted=wanted)
    told = remarks(reading, question)
    question = replace(question, margin=margin)
    rules = question.rules(reading)
    findings = [*guessed, *reading.findings]
    copies = int(reading.table.duplicated().sum())
    findings += inspect(Inspected(_canonical(reading), reading.score, rules.margin, base, copies))
    findings += [*told, Finding("note", how)]
    pairs: list[Paired] = []
    rows = pd.DataFrame()
    try:
        pairs = pairs_in(reading, wanted)
        rows = comparison(assess(pairs, rules))
        findings += [note for note in notes_of(rows) if _FEW_PATIENTS not in note.what]
    except TableError as error:
        findings.insert(0, Finding("fault", f"not comparable: {error}"))
    design = _design(reading, pairs, len(arms))
    tests = _tests(design, pairs) if pairs else ()
    order = ("fault", "doubt", "note")
    findings.sort(key=lambda finding: order.index(finding.level))
    return Audit(
        design, reading.score, base, rules.margin, reading.matches,
        tuple(dict.fromkeys(findings)), tests, rows, pd.DataFrame(),
    )  # fmt: skip


def _by_our_name(reading: Reading) -> Reading:
    """The reading with the score under our name for it, such as ``iou`` for "IoU (%)"."""
    name = own_name(reading.score)
    if name in reading.table.columns:
        return reading
    return replace(reading, table=reading.table.rename(columns={reading.score: name}), score=name)


def _with_runs(reading: Reading) -> tuple[Reading, list[Finding]]:
    """The reading with a column of runs, and with folds where seeds are folds."""
    table, columns = reading.table, reading.columns
    if reading.seeds_are_folds:
        told = (
            f"each case is in one value of {columns.seed} only: these are folds and no seeds, and "
            f"are compared as folds (--fold {columns.seed})"
        )
        return replace(reading, fold=columns.seed), [Finding("doubt", told)]
    if columns.seed:
        return reading, []
    if reading.fold is not None:
        return replace(reading, columns=replace(columns, seed=reading.fold)), []
    name = "seed" if "seed" not in table.columns else "the seed"
    table = table.assign(**{name: 0})
    return replace(reading, table=table, columns=replace(columns, seed=name)), []


def _canonical(reading: Reading) -> pd.DataFrame:
    """The table under our names, for the checks."""
    columns, table = reading.columns, reading.table
    named: dict[str, str | None] = {
        "dataset": columns.dataset, "arm": columns.arm, "seed": columns.seed,
        "image": columns.case, "group": columns.group, "fold": reading.fold,
    }  # fmt: skip
    for match in reading.matches:
        if match.role in ("split", "epoch"):
            named[match.role] = match.column
    if columns.case and not columns.group and words(columns.case) in NAMES["group"]:
        named["group"] = columns.case  # a row per patient: each case is one
    rows = pd.DataFrame({name: table[column] for name, column in named.items() if column})
    for name in reading.average_over:
        rows["class"] = table[name]
    if "dataset" not in rows:
        rows["dataset"] = ""
    for name in ("arm", "dataset"):
        rows[name] = as_text(rows[name])
    rows["value"] = table[reading.score]
    return rows


def _design(reading: Reading, pairs: Sequence[Paired], arms: int) -> Design:
    table, columns = reading.table, reading.columns
    arm = as_text(table[columns.arm])
    units = table[reading.fold or columns.seed]
    seeds = int(units.groupby(arm).nunique().max())
    folds = reading.fold is not None
    if folds and columns.seed != reading.fold:
        both = table[[reading.fold, columns.seed]].astype(str).agg(" ".join, axis=1)
        repeated = table.groupby([arm, table[reading.fold]])[columns.seed].nunique().max() > 1
        seeds = int(both.groupby(arm).nunique().max()) if repeated else seeds
    case = [name for name in (columns.group, columns.case) if name]
    cases = len(table[case].drop_duplicates()) if columns.case else None
    shares = {pair.paired for pair in pairs}
    if not pairs:  # not compared; that seeds are shared is to be seen all the same
        own = [set(seeds_of) for _, seeds_of in units.groupby(arm)]
        shares = {bool(set.intersection(*own))}
    paired = ["fold"] if folds else ["seed"] if True in shares and seeds > 1 else []
    if cases is not None:
        paired.append("case")
    datasets = table[columns.dataset].nunique() if columns.dataset else 1
    return Design(
        kind="per fold" if folds else "per seed" if cases is None else "per case",
        paired_by=tuple(paired),
        arms=arms,
        seeds=seeds,
        cases=cases,
        groups=table[columns.group].nunique() if columns.group else None,
        datasets=datasets,
        comparisons=len(pairs) or (arms - 1) * datasets,
        mixed=shares == {True, False},
    )


def _tests(design: Design, pairs: Sequence[Paired]) -> tuple[Test, ...]:
    many = design.seeds > 1
    folds = design.kind == "per fold"
    paired = many and "seed" in design.paired_by and not folds
    alone = many and not folds and (design.mixed or not paired)
    one_run = "one run per arm has no spread between runs"
    units = design.groups if design.groups is not None else design.cases
    some = "some arms share their seeds" if design.mixed else "the arms share their seeds"
    seeds_why = some if paired else (
        "folds share training data" if folds else one_run if not many else "no seeds are shared"
    )  # fmt: skip
    return (
        Test("paired t-test over seeds", paired, seeds_why),
        Test("exact sign-flip test over seeds", paired, seeds_why),
        Test(
            "Welch's t-test over runs", alone,
            "some arms share no seeds" if alone and paired else
            "the runs share nothing" if alone else
            "it throws the pairing away" if paired else seeds_why,
        ),
        Test(
            "exact permutation of two groups of runs", alone,
            "the runs share nothing" if alone else
            "it throws the pairing away" if paired else seeds_why,
        ),
        Test(
            "corrected resampled t-test over folds", folds,
            "folds share training data" if folds else "there are no folds",
        ),
        Test(
            "equivalence within the margin (TOST)", many and _spread(pairs),
            one_run if not many else
            "there is a spread between runs" if _spread(pairs) else "the differences do not vary",
        ),
        Test(
            "interval over patients",
            not folds and (paired or not many) and (units or 0) >= FEWEST_GROUPS,
            f"{units} patients" if units is not None else "the table has no cases",
        ),
        Test(
            "test over the cases of one run, as evidence for a method", False,
            "cases tell two trained models apart; another training run is another model",
        ),
    )  # fmt: skip


def _spread(pairs: Sequence[Paired]) -> bool:
    """Whether any pair's runs differ; without pairs nothing is known against it."""
    return not pairs or any(
        float(values.mean(axis=1).std()) > 0 for pair in pairs for values in (
            (pair.values_a - pair.values_b,) if pair.paired else (pair.values_a, pair.values_b)
        )
    )  # fmt: skip
