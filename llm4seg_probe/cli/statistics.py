"""Is it real? Comparisons on any table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llm4seg_probe.cli.options import (
    Json,
    Open,
    Out,
    Pseudonyms,
    emit_json,
    pairs,
    records,
    say,
    show_page,
)

if TYPE_CHECKING:
    from llm4seg_probe.statistics.findings import Finding
    from llm4seg_probe.statistics.roles import Match

Score = Annotated[
    str | None, typer.Option(help="Column to compare; recognised by its name if not given.")
]
Arm = Annotated[str | None, typer.Option(help="Column of the arms (methods, models).")]
Seed = Annotated[str | None, typer.Option(help="Column of the seeds (runs).")]
Case = Annotated[str | None, typer.Option(help="Column of the cases (images).")]
NoCase = Annotated[
    bool, typer.Option("--no-case", help="There are no cases: a row is a whole run.")
]
Group = Annotated[str | None, typer.Option(help="Column of the patients that the cases belong to.")]
Dataset = Annotated[
    str | None, typer.Option(help="Column whose values are compared each by itself.")
]
Fold = Annotated[str | None, typer.Option(help="Column of the folds of a cross-validation.")]
TestShare = Annotated[
    float | None,
    typer.Option(help="Share of a fold's test data; by default as cases show, or 1 / folds."),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="column=value: keep only these rows; may be repeated."),
]
AverageOver = Annotated[
    list[str] | None,
    typer.Option(help="Column to average over, such as fold; classes are, unasked. Repeatable."),
]
Direction = Annotated[
    bool | None,
    typer.Option(
        "--lower-is-better/--higher-is-better",
        help="The direction in which the score improves; known for usual scores.",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(
        help="Smallest difference that matters, in the score's unit. By default 0.005 for scores "
        "from 0 to 1, 0.5 for per cent, and none for others, of whose equivalence nothing is said."
    ),
]
Decimal = Annotated[
    str | None, typer.Option(help="The decimal mark, . or ,; found out if not given.")
]
InfiniteAs = Annotated[
    float | None,
    typer.Option(help="What an infinite score counts as, such as the images' diagonal."),
]
Absent = Annotated[
    str | None,
    typer.Option(
        help="Classes that a case lacks, where classes are averaged: 'case' leaves the case out, "
        "'per-case' averages those that it has (MetricsReloaded, MONAI), 'per-class' averages each "
        "class first (nnU-Net)."
    ),
]
DropUnpaired = Annotated[
    bool, typer.Option("--drop-unpaired", help="Leave seeds and cases without a partner out.")
]
Unpaired = Annotated[
    bool, typer.Option("--unpaired", help="Welch's test, for runs that share nothing.")
]
Looks = Annotated[
    str | None,
    typer.Option(
        help="Numbers of seeds, declared before the data, at which the study may end: 5,10,20."
    ),
]
Spend = Annotated[
    str,
    typer.Option(
        "--spending",
        help="How looks share the error rate: pocock (alike) or obrien-fleming (little early).",
    ),
]
Baseline = Annotated[
    str | None,
    typer.Option(
        help="Arm that the others are compared with. By default cnn, or what is named like a "
        "baseline, or the first in the table.",
        show_default=False,
    ),
]


def compare(
    table: Annotated[
        list[Path], typer.Argument(help="A CSV of any kind, or nnU-Net summary.json files.")
    ],
    score: Score = None,
    baseline: Baseline = None,
    arm: Arm = None,
    seed: Seed = None,
    case: Case = None,
    no_case: NoCase = False,
    group: Group = None,
    dataset: Dataset = None,
    fold: Fold = None,
    test_share: TestShare = None,
    where: Where = None,
    average_over: AverageOver = None,
    lower_is_better: Direction = None,
    margin: Margin = None,
    drop_unpaired: DropUnpaired = False,
    unpaired: Unpaired = False,
    decimal: Decimal = None,
    infinite_as: InfiniteAs = None,
    absent: Absent = None,
    looks: Looks = None,
    spending: Spend = "pocock",
    bootstrap: Annotated[int, typer.Option(help="Resamples; 0 for none.")] = 10_000,
    pseudonyms: Pseudonyms = False,
    out: Out = Path("reports/compare"),
    as_json: Json = False,
) -> None:
    """Significance across seeds, on any table, ours or not. p is two-sided."""
    from llm4seg_probe.report.terminal import comparison_text
    from llm4seg_probe.results import comparisons

    assert out is not None
    call = comparisons.compare
    if pseudonyms:
        call = partial(comparisons.compare_without_names, shared=out)
    found = call(
        table,
        baseline=baseline, margin=margin, lower_is_better=lower_is_better, bootstrap=bootstrap,
        test_share=test_share, drop_unpaired=drop_unpaired, unpaired=unpaired,
        **_declared(looks, spending),
        **_of_table(
            score=score, arm=arm, seed=seed, case=case, group=group, dataset=dataset, fold=fold,
            no_case=no_case, where=where, average_over=average_over, decimal=decimal,
            infinite_as=infinite_as, absent=absent,
        ),
    )  # fmt: skip
    path = found.save_table(out)
    if as_json:
        told = _told_as_json(found.matches, found.findings)
        emit_json({"table": path, "rows": records(found.table), **told})
        return
    _tell(found.matches, found.findings)
    say(comparison_text(found.table))
    count = len(found)
    family = f", adjusted for {count} comparisons (Holm)" if count > 1 else ""
    at_looks = ", over the declared looks" if looks else ""
    if looks:
        family += "; a boundary is for the p of its look alone"
    tested = (
        f"p is two-sided{at_looks}{family}.\n" if found.table["p_adjusted"].notna().any() else ""
    )
    say(f"{tested}\nThe table: {path}")


def plan(
    table: Annotated[
        list[Path], typer.Argument(help="A pilot: two arms, at least three paired seeds.")
    ],
    score: Score = None,
    baseline: Baseline = None,
    arm: Arm = None,
    seed: Seed = None,
    case: Case = None,
    no_case: NoCase = False,
    group: Group = None,
    dataset: Dataset = None,
    fold: Fold = None,
    where: Where = None,
    average_over: AverageOver = None,
    lower_is_better: Direction = None,
    margin: Margin = None,
    power: Annotated[float, typer.Option(help="Chance of finding it that is wanted.")] = 0.8,
    seeds: Annotated[int, typer.Option(help="Seeds that the smallest effect is for.")] = 5,
    drop_unpaired: DropUnpaired = False,
    decimal: Decimal = None,
    infinite_as: InfiniteAs = None,
    absent: Absent = None,
    looks: Looks = None,
    spending: Spend = "pocock",
    out: Out = Path("reports/plan"),
    as_json: Json = False,
) -> None:
    """Power: how many seeds (and cases) for which effect, from a pilot."""
    from llm4seg_probe.results import comparisons

    assert out is not None
    found = comparisons.plan(
        table,
        baseline=baseline, margin=margin, power=power, seeds=seeds, drop_unpaired=drop_unpaired,
        lower_is_better=lower_is_better, **_declared(looks, spending),
        **_of_table(
            score=score, arm=arm, seed=seed, case=case, group=group, dataset=dataset, fold=fold,
            no_case=no_case, where=where, average_over=average_over, decimal=decimal,
            infinite_as=infinite_as, absent=absent,
        ),
    )  # fmt: skip
    written = found.files(out)
    if as_json:
        told = _told_as_json(found.matches, found.findings)
        emit_json({"files": written, "rows": records(found.table), **told})
        return
    _tell(found.matches, found.findings)
    for sentence in found.sentences:
        say(sentence)
    for name, path in written.items():
        say(f"The {name}: {path}")


def audit(
    results: Annotated[
        list[Path], typer.Argument(help="A CSV of any design, or nnU-Net summary.json files.")
    ],
    baseline: Annotated[str | None, typer.Option(help="Arm to compare with.")] = None,
    score: Score = None,
    arm: Arm = None,
    seed: Seed = None,
    case: Case = None,
    no_case: NoCase = False,
    group: Group = None,
    dataset: Dataset = None,
    fold: Fold = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="role=column for further roles, such as mean=IoU; repeatable."),
    ] = None,
    where: Where = None,
    average_over: AverageOver = None,
    n: Annotated[int | None, typer.Option(help="Runs behind each printed mean.")] = None,
    test_share: TestShare = None,
    lower_is_better: Direction = None,
    margin: Margin = None,
    unpaired: Unpaired = False,
    decimal: Decimal = None,
    infinite_as: InfiniteAs = None,
    absent: Absent = None,
    pseudonyms: Pseudonyms = False,
    out: Out = Path("reports/audit"),
    show: Open = False,
    as_json: Json = False,
) -> None:
    """`compare` for results that somebody else made, with what can be trusted about them."""
    from llm4seg_probe.results import audits

    assert out is not None
    found = audits.audit(
        results,
        baseline=baseline, score=score, arm=arm, seed=seed, case=case, group=group,
        dataset=dataset, fold=fold, columns=pairs(column), where=pairs(where), n=n,
        average_over=tuple(average_over or ()),
        without=("case", "group") if no_case else (), test_share=test_share, margin=margin,
        lower_is_better=lower_is_better, unpaired=unpaired, infinite_as=infinite_as,
        shared=out if pseudonyms else None, **_as_given(decimal=decimal, absent=absent),
    )  # fmt: skip
    written = found.files(out)
    show_page(written["page"], show)
    if as_json:
        rows = records(found.table)
        design = asdict(found.design)
        emit_json(
            {
                "design": design, "files": written, "rows": rows,
                **_told_as_json(found.matches, found.findings),
            }
        )  # fmt: skip
        return
    told, *verdicts = found.sentences
    say(told)
    _tell(found.matches, found.findings)
    for test in found.tests:
        say(f"{'allowed' if test.allowed else 'refused'}: {test.name} ({test.why})")
    for sentence in verdicts:
        say(sentence)
    for name, path in written.items():
        say(f"The {name}: {path}")


def _as_given(**texts: Any) -> dict[str, Any]:
    """Texts of a few values, which the call itself checks."""
    return texts


def _of_table(
    *, no_case: bool, where: list[str] | None, average_over: list[str] | None, **columns: Any
) -> dict[str, Any]:
    """What the options say of the table; what is not given is recognised."""
    from llm4seg_probe.errors import ConfigError

    given = {name: value for name, value in columns.items() if value is not None}
    if no_case and {"case", "group"} & given.keys():
        raise ConfigError("--no-case says that there are no cases: leave --case and --group out")
    none = {"case": None, "group": None} if no_case else {}
    return {**given, **none, "where": pairs(where), "average_over": tuple(average_over or ())}


def _declared(looks: str | None, spending: str) -> dict[str, Any]:
    """Looks as ``Question`` and ``Aims`` take them. Raises ConfigError where there are none."""
    from llm4seg_probe.errors import ConfigError
    from llm4seg_probe.statistics.looks import parse_looks

    if looks is None:
        if spending != "pocock":
            raise ConfigError("--spending is of looks: add --looks 5,10,20")
        return {}
    return {"looks": parse_looks(looks), "spending": spending}


def _tell(matches: Sequence[Match], findings: Sequence[Finding]) -> None:
    """Print what the columns were taken for, and everything worth saying about them."""
    say("Read as: " + ", ".join(f"{match.column} = {match.role}" for match in matches))
    for finding in findings:
        say(f"{finding.level}: {finding.what}")


def _told_as_json(matches: Sequence[Match], findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "read_as": [asdict(match) for match in matches],
        "findings": [asdict(finding) for finding in findings],
    }


COMMANDS: dict[str, Callable[..., None]] = {"compare": compare, "plan": plan, "audit": audit}
