"""The probe `calibration`: whether the probabilities of pixels mean what they say."""

from __future__ import annotations

from llm4seg_probe.probes.base import Probe
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

CALIBRATION = Schema(
    "calibration.csv",
    {**RUN_KEYS, "class": "text", "null": "text", **IMAGE_KEYS},
    {"pixels": "integer", **numbers("ece brier overconfidence")},
)
BINS_TABLE = Schema(
    "calibration-bins.csv",
    {**RUN_KEYS, "class": "text", "null": "text", "bin": "integer"},
    {"pixels": "integer", **numbers("confidence_from confidence_to confidence right gap")},
)

PROBE = Probe(
    name="calibration",
    package=__name__,
    summary="whether probabilities of pixels mean what they say: ECE, Brier, reliability diagrams",
    shows="How often the answer for a pixel is right, against how confident the network is of it, "
    "in 15 bins of equal width of the confidence of the predicted answer (class or not, the more "
    "probable). The calibration error (ECE) is their mean distance over pixels, of each image, and "
    "of all pixels pooled, where errors of images in opposite directions cancel. An empty mask "
    "counts as any other. The null `calibrated` is the same network on masks that are drawn from "
    "its own probabilities: what is left of the error where nothing is wrong.",
    cannot="where in the image the confidence is misplaced: most pixels lie far from any border, "
    "are easy, and make a small error however wrong the probabilities at the border are",
    schema=CALIBRATION,
    claims=("ece", "brier", "overconfidence"),
    where={"null": ""},
    average_over=("class",),
    further=(BINS_TABLE,),
    summarise="table:summary",
    summary_of=("ece", "brier", "overconfidence"),
    answers=True,
    examples=("calibration --ckpt 'runs/*/run.pt'",),
)
