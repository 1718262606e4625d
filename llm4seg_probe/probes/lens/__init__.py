"""The probe `lens`: which words of the language model the tokens fall on."""

from __future__ import annotations

from dataclasses import dataclass

from llm4seg_probe.probes.base import Probe, option
from llm4seg_probe.tables import IMAGE_KEYS, RUN_KEYS, Schema, numbers

LENS = Schema(
    "lens.csv",
    {**RUN_KEYS, "site": "text", "null": "text", "draw": "integer", **IMAGE_KEYS},
    {
        "tokens": "integer",
        "foreground": "integer",
        **numbers("distance entropy entropy_foreground entropy_background top_share"),
    },
)
LENS_WORDS = Schema(
    "lens-words.csv",
    {**RUN_KEYS, "site": "text", "null": "text", "part": "text", "place": "integer"},
    {
        "word_id": "integer",
        "word": "text",
        **numbers("share other_share exchanged_share probability"),
    },
)


@dataclass(frozen=True)
class Options:
    """Options of the probe `lens`."""

    sites: tuple[str, ...] = option(("layer",), "Where to read activations, separated by commas.")
    source: str | None = option(
        None, "Language model whose words are read; the run's own unless given."
    )


PROBE = Probe(
    name="lens",
    package=__name__,
    summary="which words of the language model the layer's tokens fall on, and whether by chance",
    shows="Onto which words the tokens would fall if the language model went on from here, and "
    "whether foreground and background fall onto different ones. Where another image's mask parts "
    "the words as well as the own one, they are noise.",
    cannot="a meaning: the layer never saw an image in its own training, and nothing here trains "
    "it to name one; words that look apt prove nothing unless they come back in other seeds, and "
    "not in arms whose layer never saw language",
    schema=LENS,
    options=Options,
    claims=("distance", "entropy", "entropy_foreground", "entropy_background", "top_share"),
    where={"site": "layer", "null": ""},
    average_over=("draw",),
    further=(LENS_WORDS,),
    summary_by=("run", "site", "null"),
    summary_of=("distance", "entropy_foreground", "entropy_background", "entropy", "top_share"),
    sentences="table:sentences",
    examples=("lens --ckpt run.pt",),
)
