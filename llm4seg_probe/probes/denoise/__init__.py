"""The probe `denoise`: whether the layer lets less noise through than signal."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, ColumnType, Schema, numbers

_PLACE: dict[str, ColumnType] = {
    "site": "text",
    "noise": "text",
    "strength": "integer",
    "null": "text",
}
_RATIO = numbers("snr_db snr signal_variance noise_variance")

DENOISE = Schema(
    "denoise.csv",
    {**RUN_KEYS, **_PLACE, "part": "text", **IMAGE_KEYS},
    {
        "tokens": "integer",
        "channels": "integer",
        **_RATIO,
        **numbers("shift parameter"),
        "unit": "text",
    },
)
DIRECTIONS = Schema(
    "denoise-directions.csv",
    {**RUN_KEYS, **_PLACE, "direction": "integer"},
    {**_RATIO, **numbers("signal_share noise_share")},
)
TOKENS = Schema(
    "denoise-tokens.csv",
    {**RUN_KEYS, **_PLACE, "token": "integer"},
    {**_RATIO, **numbers("foreground_share")},
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `denoise`."""

    sites: tuple[str, ...] = option(
        ("before", "after"), "Where to read activations, separated by commas.", analysis="sites"
    )
    noises: tuple[str, ...] = option(
        ("gaussian",), "Kinds of noise, gaussian and rician, separated by commas."
    )
    parts: tuple[str, ...] = option(
        ("all", "foreground", "background"), "Which tokens, separated by commas."
    )
    images: int = option(16, "How many images are looked at.", minimum=2)
    draws: int = option(8, "How often noise is drawn for each image and strength.", minimum=2)
    tokens: int = option(1024, "How many tokens of a site's grid, at most.", minimum=1)
    directions: int = option(16, "How many principal directions, at most.", minimum=1)


PROBE = Probe(
    name="denoise",
    package=__name__,
    summary="signal-to-noise of the features on images with known noise, across the layer",
    shows="How much images differ in their features, against how much the features differ between "
    "noise draws of one image: the unbiased variance between images of the mean over draws, less "
    "the noise left in that mean, over the variance between draws, in decibels of variance. "
    "The gain of a layer is the difference of after and before: 0 for an orthogonal map, 3 for the "
    "mean of two tokens with equal signal, 10 lg k for k of them (√k in amplitude). The nulls: "
    "tokens exchanged between images in every draw, which leave no signal; the same features "
    "behind a linear map at random, which gains or loses by chance; and the network before "
    "training, which lets so little of an image through that rounding counts as noise.",
    cannot="whether what differs between images is what the task needs: a layer that keeps the "
    "noise out and the lesion with it gains as well. Added noise is not that of a scanner, and a "
    "linear map that is not orthogonal may gain by weighing directions anew, without knowing "
    "anything",
    schema=DENOISE,
    options=Options,
    claims=("snr_db", "snr", "shift"),
    where={"noise": "gaussian", "strength": 3, "part": "all", "null": ""},
    further=(DIRECTIONS, TOKENS),
    summary_by=("arm", "seed", "site", "noise", "strength", "null"),
    summary_of=("parameter", "snr_db", "snr", "shift"),
    summary_where={"part": "all"},
    sentences="gain:sentences",
    without_masks={"parts": ("all",)},
    examples=(
        "denoise --ckpt 'runs/*/run.pt'",
        "denoise --ckpt run.pt --noises gaussian,rician",
    ),
)
