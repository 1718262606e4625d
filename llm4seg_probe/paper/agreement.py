"""Compare our results with what a figure of the paper shows, by the rules that judge claims."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from llm4seg_probe.drawing import labels
from llm4seg_probe.drawing.style import in_order
from llm4seg_probe.drawing.table_rows import by_seed
from llm4seg_probe.paper.numbers import Statement
from llm4seg_probe.probes.arrays import MapArrays
from llm4seg_probe.report.results import Results
from llm4seg_probe.statistics.claims import Claim, ClaimedPair
from llm4seg_probe.statistics.judgement import judge

_WHERE: dict[str, dict[str, str]] = {
    "scores": {"split": "test", "checkpoint": "best"},
    "rank": {"part": "all", "null": ""},
    "maps": {"reduction": "mean_abs", "threshold": "otsu", "null": ""},
}
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
    written = {name.removesuffix(".csv"): table for name, table in results.written.items()}
    _, judged = judge(claims, written, bootstrap=0)
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


def agreement_text(judged: pd.DataFrame, results: Results) -> str:
    """The table of :func:`agreement` as Markdown: a count, a line each, and what it rests on."""
    counts = judged["agreement"].value_counts(sort=False)
    summary = "; ".join(f"{word}: {count}" for word, count in counts.items())
    lines = [f"**Of {len(judged)} things that the paper's figure shows.** {summary}.", ""]
    for _, row in judged.iterrows():
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


def beside_the_paper(
    rows: pd.DataFrame, theirs: pd.DataFrame, values: Sequence[str]
) -> pd.DataFrame:
    """Our mean by arm beside the paper's number: ``arm``, then for each value here, SD and paper.

    rows: of ``rank.csv`` or ``maps.csv`` at one site, measured; theirs: ``arm`` and the values.
    The standard deviation is that over seeds.
    """
    arms = in_order([*rows["arm"], *theirs["arm"]])
    columns: dict[str, object] = {"arm": arms}
    paper = theirs.set_index("arm")
    for value in values:
        means = by_seed(rows, value)
        columns[value] = means.mean().reindex(arms).to_numpy()
        columns[f"{value}, SD"] = means.std().reindex(arms).to_numpy()
        columns[f"{value}, paper"] = paper[value].reindex(arms).to_numpy()
    return pd.DataFrame(columns)


def likeness(arrays: MapArrays) -> pd.DataFrame:
    """Correlate activation maps, by arm: ``before_after`` and ``between_seeds``.

    Pearson's correlation over the places of a map, the mean over images: of the map after the
    layer with that before it (mean over seeds), and of the maps after it of two seeds (mean over
    pairs). NaN where there is no such pair.
    """
    rows = []
    for arm in in_order(arrays.map_arm):
        seeds = sorted(set(arrays.map_seed[arrays.map_arm == arm].tolist()))
        maps = {
            (seed, site): arrays.maps[place]
            for seed in seeds
            for site in ("before", "after")
            if (place := arrays.map_place(arm, seed, site)) is not None
        }
        steps = [
            (maps[seed, "before"], maps[seed, "after"])
            for seed in seeds
            if (seed, "before") in maps and (seed, "after") in maps
        ]
        after = [maps[seed, "after"] for seed in seeds if (seed, "after") in maps]
        rows.append(
            {
                "arm": arm,
                "before_after": _correlation(steps),
                "between_seeds": _correlation(list(combinations(after, 2))),
            }
        )
    return pd.DataFrame(rows)


def _correlation(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean correlation of pairs of (I, h, w), image by image; constant maps are left out."""
    correlations = [
        float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
        for first, second in pairs
        for one, other in zip(first, second, strict=True)
        if one.std() > 0 and other.std() > 0
    ]
    return float(np.mean(correlations)) if correlations else float("nan")


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
