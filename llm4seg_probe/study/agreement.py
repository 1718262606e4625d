"""Whether our results show what a figure of the paper shows, by the rules that judge claims."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.reporting import labels
from llm4seg_probe.reporting.results import Results
from llm4seg_probe.statistics.claims import Claim, ClaimedPair, judge
from llm4seg_probe.study.paper import Statement

_WHERE: dict[str, dict[str, str]] = {
    "scores": {"split": "test", "checkpoint": "best"},
    "rank": {"part": "all", "null": ""},
    "maps": {"reduction": "mean_abs", "threshold": "otsu", "null": ""},
}
_SCHEMAS = {"scores": tables.SCORES, "rank": tables.RANK, "maps": tables.MAPS}
_AGREES = {
    ("higher", "supported"): "seen here too",
    ("higher", "contradicted"): "the other way round here",
    ("higher", "equivalent"): "no difference that matters here",
    ("alike", "supported"): "seen here too",
    ("alike", "contradicted"): "not alike here",
}
_OPEN, _NOT_RUN = "these runs cannot tell", "not run here"


def agreement(results: Results, statements: Sequence[Statement]) -> pd.DataFrame:
    """One row per statement: ``says, paper, here, low, high, seeds, verdict, agreement``.

    ``here`` is the mean difference over seeds, ``low`` and ``high`` its 95 % interval for another
    training run (paired t); ``verdict`` is that of the claim that the statement is true here.
    Each statement is judged by itself.
    """
    claims = [_claim(place, statement) for place, statement in enumerate(statements)]
    _, judged = judge(claims, _tables(results), bootstrap=0)
    rows = []
    for statement, (_, row) in zip(statements, judged.iterrows(), strict=True):
        decided = str(row["verdict"])
        open_ended = _NOT_RUN if decided == "not run" else _OPEN
        rows.append(
            {
                "says": statement.says,
                "paper": statement.theirs,
                "here": row["difference"],
                "low": row["ci_low"],
                "high": row["ci_high"],
                "seeds": row["n_seeds"],
                "verdict": decided,
                "agreement": _AGREES.get((statement.shows, decided), open_ended),
            }
        )
    return pd.DataFrame(rows)


def told(found: pd.DataFrame, results: Results) -> str:
    """The table of :func:`agreement` as Markdown: a count, a line each, and what it rests on."""
    counts = found["agreement"].value_counts(sort=False)
    summary = "; ".join(f"{word}: {count}" for word, count in counts.items())
    lines = [f"**Of {len(found)} things that the paper's figure shows.** {summary}.", ""]
    for _, row in found.iterrows():
        decimals = max(2, labels.decimals_for(row["high"] - row["low"]))
        paper = labels.number(row["paper"], max(decimals, 3), signed=True)
        line = f"- {row['says']} (paper {paper}): **{row['agreement']}**"
        if row["verdict"] != "not run":
            here = labels.effect(row["here"], row["low"], row["high"])
            line += f", {here} over {row['seeds']:.0f} seeds"
        lines.append(f"{line}.")
    context = results.context
    rests = " ".join([context.rests_on, *context.dataset.caveats])
    lines += ["", f"*What this rests on.* {' '.join(rests.split())}"]
    return "\n".join(lines)


def _claim(place: int, statement: Statement) -> Claim:
    return Claim(
        id=f"{place}",
        statement=statement.says,
        table=statement.table,
        score=statement.score,
        where=dict(_WHERE[statement.table]),
        kind="superiority" if statement.shows == "higher" else "equivalence",
        comparisons=(ClaimedPair(a=statement.a, b=statement.b),),
        margin=statement.margin,
    )


def _tables(results: Results) -> dict[str, pd.DataFrame]:
    """The tables as they lie on disk: claims find by ``runs.csv`` what deviates in a run."""
    found = {"runs": results.tables["runs.csv"]}
    for name, schema in _SCHEMAS.items():
        if results.has(schema.name):
            found[name] = tables.read_table(results.folder / schema.name, schema)
    return found
