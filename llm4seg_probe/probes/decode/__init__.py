"""The probe `decode`: how much of the mask a linear rule reads off single tokens."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

DECODE = Schema(
    "decode.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "input": "text",
        "training_images": "integer",
        "null": "text",
        **IMAGE_KEYS,
    },
    {
        "penalty": "number",
        "tokens": "integer",
        "foreground": "integer",
        **numbers("auroc average_precision dice"),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `decode`."""

    split_seed: int = option(0, "Of the division by groups of the images of --data.", minimum=0)
    sites: tuple[str, ...] = option(
        ("before", "after"), "Where to read activations, separated by commas.", analysis="sites"
    )
    images: tuple[int, ...] = option(
        (1, 4, 16), "Numbers of training images to learn from, before all of them.", minimum=1
    )


PROBE = Probe(
    name="decode",
    package=__name__,
    summary="how well linear probes find the foreground, against position and other masks",
    shows="How much of the mask can be read off single tokens by a linear rule, on images that "
    "the rule has not seen, beyond what a token's place in the image or another image's mask "
    "already gives. No more can be read from a coarse grid than its cells hold.",
    cannot="that the decoder uses what can be read",
    schema=DECODE,
    options=Options,
    claims=("auroc", "average_precision", "dice"),
    where={"input": "features", "training_images": "max", "null": ""},
    summarise="table:summarise",
    split="Side on which the probes are tested: test or val.",
    examples=("decode --ckpt 'runs/*/run.pt' --images 1,4,16",),
)
