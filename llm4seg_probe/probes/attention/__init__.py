"""The probe `attention`: which tokens each head of the layer reads from."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

ATTENTION = Schema(
    "attention.csv",
    {
        **RUN_KEYS,
        "place": "integer",
        "layer": "integer",
        "head": "integer",
        "null": "text",
        **IMAGE_KEYS,
    },
    {
        "tokens": "integer",
        "foreground_tokens": "integer",
        **numbers(
            "distance distance_uniform distance_ratio entropy entropy_uniform entropy_ratio "
            "foreground_share foreground_share_uniform foreground_share_ratio "
            "first_share first_share_uniform first_share_ratio "
            "sink_share sink_share_uniform sink_share_ratio "
            "locality locality_uniform locality_ratio"
        ),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `attention`."""

    query: tuple[int, ...] | None = option(
        None,
        "Pixel from which the maps look: row,column (depth,row,column in 3D), from 0, in the image "
        "as the network sees it; the centre of the largest foreground region unless given.",
    )


PROBE = Probe(
    name="attention",
    package=__name__,
    summary="where each head looks: distance, entropy, foreground, sinks; maps from one pixel",
    shows="Attention weights say which tokens a head reads from. A causal mask alone makes "
    "attention short, low in entropy and fond of the first token, so each number stands beside "
    "that of uniform attention under the same mask; foreground that lies together is favoured by "
    "nearness alone, which the other-image null shows.",
    cannot="what a head takes from a token, or whether the result depends on it: that takes an "
    "intervention",
    schema=ATTENTION,
    options=Options,
    where={"null": ""},
    average_over=("place", "layer", "head"),
    summary_by=("arm", "seed", "layer", "null"),
    summary_of=tuple(name for name in ATTENTION.values if name.endswith("_ratio")),
    examples=("attention --ckpt run.pt --query 48,48",),
)
