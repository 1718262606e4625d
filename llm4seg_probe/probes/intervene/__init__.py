"""The probe `intervene`: what becomes of the scores when one thing is changed."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import EFFECT, IMAGE_KEYS, OVERLAPS, RUN_KEYS, Schema

INTERVENE = Schema(
    "intervene.csv",
    {**RUN_KEYS, "intervention": "text", "setting": "text", **IMAGE_KEYS, "class": "text"},
    OVERLAPS,
)
INTERVENE_EFFECTS = Schema(
    "intervene-effects.csv",
    {
        "dataset": "text",
        "arm": "text",
        "intervention": "text",
        "setting": "text",
        "score": "text",
    },
    EFFECT,
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `intervene`."""

    only: tuple[str, ...] | None = option(
        None, "Interventions, separated by commas; all by default."
    )
    ranks: tuple[int, ...] = option(
        (1, 2, 4, 8, 16, 32), "Ranks to which `after` is projected, separated by commas.", minimum=1
    )
    directions: int = option(3, "How many singular directions to remove, singly.", minimum=0)
    sites: tuple[str, ...] = option(("after",), "Where another image's activations go, by commas.")
    other_layer: int | None = option(None, "Layer (from 1) of the LLM whose weights are put in.")


PROBE = Probe(
    name="intervene",
    package=__name__,
    summary="scores when the layer is bypassed, cut, exchanged or projected",
    shows="How much the trained network relies on each part at test time. That a change does not "
    "hurt may mean that something else takes over: skips go around the layer and carry what no "
    "change there reaches.",
    cannot="what training without that part would have given (the arms do): a network is used to "
    "what it was trained with",
    schema=INTERVENE,
    options=Options,
    where={"setting": ""},
    derive="table:changes",
    derived=(INTERVENE_EFFECTS,),
    summarise="table:summarise",
    answers=True,
    examples=("intervene --ckpt run.pt --only bypass,mask",),
)
