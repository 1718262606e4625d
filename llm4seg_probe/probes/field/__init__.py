"""The probe `field`: from how far, and which side, the input moves the centre."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

FIELD = Schema(
    "field.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "wrt": "text",
        "layer": "text",
        "null": "text",
        **IMAGE_KEYS,
    },
    numbers("mass radius_50 radius_90 before after asymmetry"),
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `field`."""

    sites: tuple[str, ...] = option(
        ("logits",),
        "Whose centre is looked at, separated by commas.",
        flags=("--sites", "--site"),
    )
    images: int = option(48, "How many images are averaged.", minimum=1)


PROBE = Probe(
    name="field",
    package=__name__,
    summary="from how far, and which side, the input moves the centre; with and without the layer",
    shows="From how far, and from which side, a small change of the input moves the centre of the "
    "output. With the layer bypassed the decoder receives features that it was not trained on: "
    "that field is of the same network, not of one trained without the layer, which is the arm "
    "cnn. Before training the batch statistics are not those of the images, and next to nothing "
    "passes the deep layers: that band is the narrow end.",
    cannot="that far context is of use; and a gradient sees small changes only",
    schema=FIELD,
    options=Options,
    where={"site": "logits", "wrt": "input", "null": ""},
    summary_by=("arm", "seed", "site", "wrt", "layer", "null"),
    summary_of=("radius_50", "radius_90", "before", "after", "asymmetry"),
    without_masks={},
    examples=("field --ckpt 'runs/*/run.pt'",),
)
