"""The probe `maps`: whether activation maps agree with the masks."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

MAPS = Schema(
    "maps.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "class": "text",
        "reduction": "text",
        "threshold": "text",
        "null": "text",
        **IMAGE_KEYS,
    },
    numbers("iou auroc contrast noise sharpness"),
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `maps`."""

    sites: tuple[str, ...] = option(
        ("before", "after"), "Where to read activations, separated by commas.", analysis="sites"
    )
    gallery: int = option(
        6, "How many images have their maps kept, for the gallery.", minimum=0, analysis="gallery"
    )


PROBE = Probe(
    name="maps",
    package=__name__,
    summary="activation maps against the masks: activation IoU, AUROC, contrast, noise, sharpness",
    shows="Overlap of the thresholded activation map with the mask, before and after the layer; "
    "the box is what another image's map gives.",
    cannot="that the decoder uses what a map shows. Reduction and threshold are choices, and "
    "another choice gives another number; where the foreground sits in the same place in every "
    "image, a map can overlap it without having seen it: hence the box",
    schema=MAPS,
    options=Options,
    where={"reduction": "mean_abs", "threshold": "otsu", "null": ""},
    common_cases=False,
    per_run=True,
    write_arrays="gallery:write_gallery",
    summary_by=("arm", "seed", "site", "reduction", "threshold", "null"),
    summary_of=("iou", "auroc", "contrast"),
    answers=True,
    examples=("maps --ckpt 'runs/*/run.pt'",),
)
