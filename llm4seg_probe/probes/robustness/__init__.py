"""The probe `robustness`: how scores fall as images get worse."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

ROBUSTNESS = Schema(
    "robustness.csv",
    {**RUN_KEYS, "corruption": "text", "strength": "integer", **IMAGE_KEYS, "class": "text"},
    {**numbers("iou dice parameter"), "unit": "text"},
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `robustness`."""

    corruptions: tuple[str, ...] = option(
        (), "noise, blur, contrast, jpeg, resolution, separated by commas; all unless given."
    )


PROBE = Probe(
    name="robustness",
    package=__name__,
    summary="scores on worse images: noise, blur, contrast, JPEG, resolution",
    shows="How scores fall as images get worse in five artificial ways, for all arms on the same "
    "images.",
    cannot="how a network does on images of another scanner, clinic or patient, which differ in "
    "ways that no single dial has",
    schema=ROBUSTNESS,
    options=Options,
    claims=("iou", "dice"),
    where={"strength": 3},
    average_over=("corruption",),
    summary_by=("arm", "seed", "corruption", "strength"),
    summary_of=("parameter", "iou", "dice"),
    answers=True,
    examples=("robustness --ckpt run.pt --corruptions noise,blur",),
)
