"""Two results of one configuration, from two machines: which numbers agree, which verdicts do not.

Another processor rounds otherwise, which is in effect another draw of the seeds: numbers are
expected to differ, within what their intervals say.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import pandas as pd

from llm4seg_probe.config import read_yaml
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.tables import CLAIMS, COMPARISON, Schema, read_table, write_table

NAME = "against.csv"
AGAINST = Schema(
    NAME,
    {"of": "text", "what": "text"},
    {
        "difference": "number", "ci_low": "number", "ci_high": "number",
        "other_difference": "number", "other_low": "number", "other_high": "number",
        "agrees": "text", "verdict": "text", "other_verdict": "text", "change": "text",
    },
)  # fmt: skip
_SAME = ("base", "claims", "size", "decide")


@dataclass(frozen=True)
class Against:
    """Every comparison and claim of two folders, side by side, and where each was made."""

    rows: pd.DataFrame
    machines: tuple[str, str]

    @property
    def sentence(self) -> str:
        """The result in words."""
        known = self.rows[self.rows["agrees"] != ""]
        agreeing = int((known["agrees"] == "yes").sum())
        changed = self.rows[self.rows["change"] != ""]
        opposite = int((changed["change"] == "opposite").sum())
        told = "; ".join(
            f"{row['what']}: {row['verdict']} here, {row['other_verdict']} there"
            for _, row in changed.iterrows()
        )
        return (
            f"Here: {self.machines[0]}; there: {self.machines[1]}. {agreeing} of {len(known)} "
            f"differences agree within their intervals; {len(changed)} of {len(self.rows)} "
            f"verdicts changed, {opposite} of them to the opposite{': ' + told if told else ''}."
        )


def against(folder: Path, other: Path) -> Against:
    """Compare two folders of results of one configuration.

    Two differences agree where the distance between them is within what their half widths give
    for independent draws. Raises ConfigError where the configurations differ.
    """
    here, there = (read_yaml(each / "analysis.yaml") for each in (folder, other))
    differ = [name for name in _SAME if here.get(name) != there.get(name)]
    if differ:
        raise ConfigError(
            f"{folder} and {other} are results of two configurations ({', '.join(differ)} differ): "
            "--against is for one, made on two machines"
        )
    parts = [
        _side_by_side(folder, other, CLAIMS, ["claim"]),
        _side_by_side(folder, other, COMPARISON, list(COMPARISON.keys)),
    ]
    machines = [_machine(values.get("machine") or {}) for values in (here, there)]
    return Against(pd.concat(parts, ignore_index=True), (machines[0], machines[1]))


def write_against(folder: Path, other: Path, out: Path) -> Against:
    """Compare two folders and write ``against.csv``."""
    found = against(folder, other)
    write_table(found.rows, out / NAME, AGAINST)
    return found


def _side_by_side(folder: Path, other: Path, schema: Schema, keys: list[str]) -> pd.DataFrame:
    columns = [*keys, "difference", "ci_low", "ci_high", "verdict"]
    mine, theirs = (read_table(each / schema.name, schema)[columns] for each in (folder, other))
    both = mine.merge(theirs, on=keys, how="inner", suffixes=("", "_there"), validate="1:1")
    what = (
        both["claim"]
        if keys == ["claim"]
        else (
            both["dataset"] + " " + both["score"] + ": " + both["a"] + " against " + both["b"]
        ).str.strip()
    )
    return pd.DataFrame(
        {
            "of": schema.name.removesuffix(".csv"), "what": what,
            "difference": both["difference"], "ci_low": both["ci_low"], "ci_high": both["ci_high"],
            "other_difference": both["difference_there"], "other_low": both["ci_low_there"],
            "other_high": both["ci_high_there"],
            "agrees": [_agree(row) for _, row in both.iterrows()],
            "verdict": both["verdict"], "other_verdict": both["verdict_there"],
            "change": [
                _change(*pair)
                for pair in zip(both["verdict"], both["verdict_there"], strict=True)
            ],
        }
    )  # fmt: skip


def _agree(row: pd.Series) -> str:
    """``yes`` or ``no``; empty where one of them has no interval."""
    half = (row["ci_high"] - row["ci_low"]) / 2
    half_there = (row["ci_high_there"] - row["ci_low_there"]) / 2
    apart = abs(row["difference"] - row["difference_there"])
    if not half + half_there + apart < float("inf"):
        return ""
    return "yes" if apart <= sqrt(half**2 + half_there**2) else "no"


def _change(here: str, there: str) -> str:
    if here == there:
        return ""
    if {here, there} == {"supported", "contradicted"}:
        return "opposite"
    return "decided and open" if "inconclusive" in (here, there) else "another verdict"


def _machine(values: dict[str, object]) -> str:
    parts = [str(values[name]) for name in ("processor", "kernels") if values.get(name)]
    return ", ".join(parts) or "a machine that is not named"
