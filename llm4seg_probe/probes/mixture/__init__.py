"""The probe `mixture`: which layers training chooses, and how far it opens a gate."""

from __future__ import annotations

from llm4seg_probe.probes.base import Probe
from llm4seg_probe.tables import RUN_KEYS, Schema, numbers

MIXTURE = Schema(
    "mixture.csv",
    {**RUN_KEYS, "checkpoint": "text", "epoch": "integer", "layer": "text"},
    {
        **numbers("weight gate opening added effective_layers depth"),
        "layers": "text",
        "learned": "text",
    },
)
SEEDS = Schema(
    "mixture-seeds.csv",
    {
        "dataset": "text",
        "arm": "text",
        "checkpoint": "text",
        "epoch": "integer",
        "layer": "text",
    },
    {"n_seeds": "integer", "what": "text", **numbers("mean ci_low ci_high")},
)
AGREEMENT = Schema(
    "mixture-agreement.csv",
    {"dataset": "text", "arm": "text"},
    {
        "layers": "text",
        "n_seeds": "integer",
        **numbers("correlation null_low null_high p effective_layers"),
    },
)

PROBE = Probe(
    name="mixture",
    package=__name__,
    summary="the weights of a mixture's layers and the opening of a gate, by epoch and seed",
    shows="Which layers training gives weight to, how many it spreads it over (effective_layers, "
    "exp of the entropy of the weights), how deep they lie (depth, the mean of layer over depth of "
    "the language model), and how far it opens a gate; and whether seeds agree: the mean "
    "correlation of their weights over the layers, against the same weights with the layers "
    "exchanged in each seed. A random mixture has other layers in each seed, so that its seeds can "
    "agree by chance only. What goes on (added) is measured on the images: its size, relative to "
    "what it is added to.",
    cannot="that a layer with more weight does more: layers differ in how much they add to the "
    "stream, and the second adapter can make up for a small gate, so read added beside both; and "
    "how far weights and gates can move is bounded by learning rate and steps",
    schema=MIXTURE,
    claims=("weight", "gate", "opening", "added", "effective_layers", "depth"),
    where={"checkpoint": "best", "layer": ""},
    common_cases=False,
    per_run=True,
    derive="agreement:derived",
    derived=(SEEDS, AGREEMENT),
    summarise="agreement:summary",
    sentences="agreement:sentences",
    without_masks={},
    examples=("mixture --ckpt 'runs/llm-mix-*/run.pt'",),
)
