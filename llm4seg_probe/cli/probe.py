"""Probes: what the layer does to the features of trained networks."""

from __future__ import annotations

from pathlib import Path

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    Sites,
    SplitSide,
    checkpoints,
    names,
    print_probe,
)


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
    found = rank_runs(checkpoints(ckpt), out, sites=names(sites), split=split, data=data)
    print_probe(found, as_json)


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
    found = map_runs(checkpoints(ckpt), out, sites=names(sites), split=split, data=data)
    print_probe(found, as_json)


COMMANDS = {"rank": rank, "maps": maps}
