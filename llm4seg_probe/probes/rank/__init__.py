"""The probe `rank`: how many directions the features use."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

RANK = Schema(
    "rank.csv",
    {**RUN_KEYS, "site": "text", "part": "text", "null": "text", **IMAGE_KEYS},
    {
        "tokens": "integer",
        "channels": "integer",
        **numbers(
            "entropy effective_rank lsvr sigma1_share stable_rank participation_ratio "
            "largest_token_share"
        ),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `rank`."""

    sites: tuple[str, ...] = option(
        ("before", "after"), "Where to read activations, separated by commas.", analysis="sites"
    )
    parts: tuple[str, ...] = option(
        ("all", "foreground", "background", "dataset"),
        "Which tokens, separated by commas: all, foreground, background, dataset (all images).",
    )


PROBE = Probe(
    name="rank",
    package=__name__,
    summary="effective rank, largest-singular-value ratio and their companions, by site",
    shows="Effective rank, exp of the entropy of the singular values' shares, and LSVR, −ln of the "
    "largest share, of the tokens of each image. Bands show what the same measure gives where "
    "nothing was learned: the scale without which the numbers say little.",
    cannot="whether more directions are better: Gaussian tokens have the highest rank of all, and "
    "whether rank matters takes an intervention, not a density",
    schema=RANK,
    options=Options,
    where={"part": "all", "null": ""},
    common_cases=False,
    per_run=True,
    summary_by=("arm", "seed", "site", "null"),
    summary_of=("effective_rank", "lsvr"),
    summary_where={"part": "all"},
    without_masks={"parts": ("all", "dataset")},
    examples=(
        "rank --ckpt 'runs/*/run.pt'",
        "rank --ckpt run.pt --sites before,layer,after",
    ),
)
