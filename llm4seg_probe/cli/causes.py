"""Interventions: what changes when the layer is bypassed, cut, exchanged or projected."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llm4seg_probe.cli.output import (
    Checkpoints,
    Data,
    Json,
    Out,
    SplitSide,
    checkpoints,
    names,
    print_probe,
)
from llm4seg_probe.errors import ConfigError

Only = Annotated[
    str | None, typer.Option("--only", help="Interventions, separated by commas; all by default.")
]
Ranks = Annotated[
    str, typer.Option("--ranks", help="Ranks to which `after` is projected, separated by commas.")
]
Directions = Annotated[
    int, typer.Option("--directions", min=0, help="How many singular directions to remove, singly.")
]
Patched = Annotated[
    str, typer.Option("--sites", help="Where another image's activations go, by commas.")
]
OtherLayer = Annotated[
    int | None,
    typer.Option("--other-layer", help="Layer (from 1) of the LLM whose weights are put in."),
]
Swap = Annotated[
    bool,
    typer.Option("--swap", help="Instead: exchange activations between two arms, seed by seed."),
]
SwapHeads = Annotated[
    bool, typer.Option("--swap-heads", help="With --swap: single attention heads, too.")
]


def intervene(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    only: Only = None,
    ranks: Ranks = "1,2,4,8,16,32",
    directions: Directions = 3,
    sites: Patched = "after",
    other_layer: OtherLayer = None,
    swap: Swap = False,
    swap_heads: SwapHeads = False,
    out: Out = Path("reports/intervene"),
    as_json: Json = False,
) -> None:
    """Score changes when the layer is bypassed, cut, exchanged or projected; swaps between arms."""
    from llm4seg_probe.study.single.intervene import intervene_runs
    from llm4seg_probe.study.single.swap import swap_runs

    assert out is not None
    paths = checkpoints(ckpt)
    if swap or swap_heads:
        found = swap_runs(paths, out, split=split, data=data, heads=swap_heads)
    else:
        from llm4seg_probe.probing.applicable import Options

        options = Options(
            ranks=_ranks(ranks),
            directions=directions,
            patch_sites=names(sites),
            other_layer=other_layer,
            only=None if only is None else names(only),
        )
        found = intervene_runs(paths, out, options=options, split=split, data=data)
    print_probe(found, as_json)


def _ranks(text: str) -> tuple[int, ...]:
    parts = names(text)
    for part in parts:
        if not part.isdecimal() or part == "0":
            raise ConfigError(f"--ranks holds '{part}': give whole numbers from 1, such as 1,2,4,8")
    return tuple(sorted({int(part) for part in parts}))


COMMANDS = {"intervene": intervene}
