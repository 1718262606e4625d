"""Probes: what the layer does to the features of trained networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    Sites,
    SplitSide,
    checkpoints,
    emit_json,
    records,
    say,
)

if TYPE_CHECKING:
    from llm4seg_probe.study.single.result import ProbeResult


def rank(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    sites: Sites = "before,after",
    out: Out = Path("reports/rank"),
    as_json: Json = False,
) -> None:
    """Effective rank and largest-singular-value ratio by site: table and figure."""
    from llm4seg_probe.study.single.rank import rank_runs

    assert out is not None
    found = rank_runs(checkpoints(ckpt), out, sites=_names(sites), split=split, data=data)
    _print(found, as_json)


def maps(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    sites: Sites = "before,after",
    out: Out = Path("reports/maps"),
    as_json: Json = False,
) -> None:
    """Foreground/background activation maps: gallery, activation IoU and its companions."""
    from llm4seg_probe.study.single.maps import map_runs

    assert out is not None
    found = map_runs(checkpoints(ckpt), out, sites=_names(sites), split=split, data=data)
    _print(found, as_json)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _print(found: ProbeResult, as_json: bool) -> None:
    if as_json:
        rows = records(found.table)
        emit_json({"table": found.path, "figures": found.figures, "rows": rows})
        return
    say(found.summary.to_string(index=False, float_format="%.4f"))
    for label, path in (("table", found.path), *(("figure", path) for path in found.figures)):
        say(f"The {label}: {path}")


COMMANDS = {"rank": rank, "maps": maps}
