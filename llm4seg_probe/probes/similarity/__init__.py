"""The probe `similarity`: how alike features are between sites, arms and seeds."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import RUN_KEYS, Schema, numbers

SIMILARITY = Schema(
    "similarity.csv",
    {
        **RUN_KEYS,
        "site": "text",
        "other_run": "text",
        "other_arm": "text",
        "other_seed": "integer",
        "other_site": "text",
        "null": "text",
    },
    {
        "between": "text",
        "images": "integer",
        "tokens": "integer",
        "channels": "integer",
        "other_channels": "integer",
        **numbers("cka procrustes cosine"),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `similarity`."""

    sites: tuple[str, ...] = option(
        ("before", "after"), "Where to read activations, separated by commas.", analysis="sites"
    )
    images: int = option(64, "How many images are looked at.", minimum=1)
    tokens: int = option(
        2048, "How many tokens of a site over all images, at most about.", minimum=4
    )


PROBE = Probe(
    name="similarity",
    package=__name__,
    summary="how alike features are between sites, arms and seeds: CKA, Procrustes, cosine",
    shows="CKA and Procrustes say how far two sets of features order the same tokens alike, "
    "whatever their bases. Arms of one seed start from the same CNN and see the same batches, so "
    "they are alike before any layer acts: compare with seeds of one arm. Features that follow "
    "the position alone are alike too, which the shuffled null shows. The cosine takes both in "
    "one basis, and says little across seeds.",
    cannot="whether what is shared is what the task needs",
    schema=SIMILARITY,
    options=Options,
    measure="",
    measure_together="table:measure_together",
    claims=("cka", "procrustes", "cosine"),
    where={"between": "sites", "null": ""},
    summary_by=("between", "arm", "site", "other_arm", "other_site", "null"),
    summary_of=("cka", "procrustes", "cosine"),
    without_masks={},
    examples=("similarity --ckpt 'runs/*/run.pt'",),
)
