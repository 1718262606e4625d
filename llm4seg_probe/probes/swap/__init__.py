"""The probe `swap`: activations of one arm put into another, seed by seed."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import EFFECT, IMAGE_KEYS, OVERLAPS, RUN_KEYS, Schema, numbers

SWAP = Schema(
    "swap.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "donor": "text",
        "donor_run": "text",
        **IMAGE_KEYS,
        "class": "text",
    },
    {**OVERLAPS, "explained": "number"},
)
SWAP_EFFECTS = Schema(
    "swap-effects.csv",
    {"dataset": "text", "arm": "text", "site": "text", "donor": "text", "score": "text"},
    {
        **EFFECT,
        **numbers("gap gap_low gap_high gap_share explained"),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `swap`."""

    heads: bool = option(False, "Single attention heads, too.")


PROBE = Probe(
    name="swap",
    package=__name__,
    summary="scores when activations are exchanged between two arms, seed by seed",
    shows="How much of a score goes with what a linear map can carry over of another network's "
    "features. Swapping costs something by itself: what another seed of the same arm loses is "
    "that cost, what the mean activation loses is the most there is to lose.",
    cannot="what a nonlinear code holds, which is lost in the map; and the skips of the receiver "
    "go around the swapped place",
    schema=SWAP,
    options=Options,
    measure="",
    measure_together="table:measure_together",
    where={"site": "after"},
    derive="table:changes",
    derived=(SWAP_EFFECTS,),
    summarise="table:summarise",
    arms=2,
    answers=True,
    examples=("swap --ckpt 'runs/*/run.pt'",),
)
