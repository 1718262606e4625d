"""The probe `attribute`: which places the network's answer rests on."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.errors import UserError, unknown
from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

ATTRIBUTE = Schema(
    "attribute.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "method": "text",
        "target": "text",
        "baseline": "text",
        "class": "text",
        "null": "text",
        **IMAGE_KEYS,
    },
    numbers(
        "score baseline_score completeness_gap foreground_share mask_share infidelity unexplained "
        "sensitivity"
    ),
)
RANDOMISED = Schema(
    "attribute-randomised.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "method": "text",
        "class": "text",
        "randomised": "text",
        "order": "integer",
        "part": "text",
        "null": "text",
        **IMAGE_KEYS,
    },
    {**numbers("similarity"), "tensors": "integer"},
    on_request=True,
)

TARGETS = ("prediction", "mask")
BASELINES = ("zero", "mean")


@dataclass(frozen=True)
class Options:
    """Options of the probe `attribute`.

    ``target``: f is the mean logit of a class over the pixels that the network itself predicts,
    or over those of the mask; the pixels stay the same while the image changes. ``baseline``:
    the image that stands for nothing, zero after normalisation or the image's own mean per
    channel. Raises UserError for values that there are not.
    """

    sites: tuple[str, ...] = option(
        ("input",),
        "Places to attribute to, separated by commas; input: the image.",
        flags=("--sites", "--site"),
    )
    methods: tuple[str, ...] = option(
        ("integrated-gradients", "occlusion"),
        "integrated-gradients, conductance, gradcam, occlusion, separated by commas.",
        flags=("--methods", "--method"),
    )
    target: str = option(
        "prediction", "What is explained: the mean logit over the prediction or the mask."
    )
    baseline: str = option("zero", "The image that stands for nothing: zero (normalised) or mean.")
    steps: int = option(128, "Steps of the integral.", minimum=1)
    window: int = option(8, "Side of what is occluded, in pixels.", minimum=1)
    boxes: int = option(16, "Random boxes on which infidelity is measured.", minimum=1)
    changes: int = option(2, "Changed images on which sensitivity is measured.", minimum=1)
    images: int = option(6, "How many images are explained.", minimum=1)
    randomise: bool = option(
        False,
        "Explain networks with random weights in one part, and in all parts from the top down to "
        "it, too: takes two explanations more for each part of the network.",
    )

    def __post_init__(self) -> None:
        for name, value, valid in (
            ("target", self.target, TARGETS),
            ("baseline", self.baseline, BASELINES),
        ):
            if value not in valid:
                raise UserError(unknown(name, value, valid))
        for name in ("steps", "window", "boxes", "changes"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}: give at least 1")


PROBE = Probe(
    name="attribute",
    package=__name__,
    summary="which places the answer rests on (captum), against the mask, at any site",
    shows="Which places of the image, or of a site, the network's answer rests on, and whether "
    "they lie in the mask more than the mask's area alone would give. Methods differ, and "
    "infidelity says how far each may be trusted. At an inner site the sum is only the share of "
    "the answer that passes through it: skip connections go around. With --randomise: how alike "
    "the maps stay (Spearman of absolute values) when weights are drawn anew, from the output down "
    "and part by part; maps that do not change explain the image and not the network.",
    cannot="that what is there is used because of its meaning",
    schema=ATTRIBUTE,
    options=Options,
    further=(RANDOMISED,),
    where={"site": "input", "method": "integrated-gradients", "null": ""},
    summary_by=("arm", "seed", "site", "method", "class", "null"),
    summary_of=(
        "completeness_gap",
        "foreground_share",
        "mask_share",
        "unexplained",
        "sensitivity",
    ),
    answers=True,
    examples=("attribute --ckpt run.pt --methods gradcam,occlusion",),
)
