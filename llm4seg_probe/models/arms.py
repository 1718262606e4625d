"""The arms of the comparison: what stands between encoder and decoder, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Middle = Literal["nothing", "identity", "gelu", "layer"]
Weights = Literal["pretrained", "random", "shuffled"]
Halves = Literal["both", "attention", "mlp"]


@dataclass(frozen=True)
class Arm:
    """One condition of the comparison.

    ``middle`` is what stands between the two adapters; with ``nothing`` there are no adapters
    either. The other fields speak about a decoder layer, and only count where there is one:
    where its weights come from, whether they are trained, which of its halves run, and whether
    low-rank adapters are trained beside the frozen weights.
    """

    description: str
    middle: Middle
    weights: Weights = "pretrained"
    trainable: bool = False
    halves: Halves = "both"
    low_rank: bool = False


ARMS: dict[str, Arm] = {
    "cnn": Arm("the plain CNN: nothing between encoder and decoder", "nothing"),
    "llm": Arm("pre-trained decoder layer, frozen", "layer"),
    "llm-trainable": Arm("pre-trained decoder layer, trained", "layer", trainable=True),
    "transformer": Arm(
        "the same architecture from random weights, trained", "layer", "random", trainable=True
    ),
    "random-frozen": Arm("the same architecture, random weights, frozen", "layer", "random"),
    "shuffled-frozen": Arm(
        "pre-trained weights, the entries of every tensor permuted, frozen", "layer", "shuffled"
    ),
    "adapters": Arm("the two linear projections alone", "identity"),
    "mlp": Arm("the two linear projections with a GELU between", "gelu"),
    "attention-only": Arm(
        "pre-trained decoder layer, frozen, its MLP bypassed", "layer", halves="attention"
    ),
    "mlp-only": Arm(
        "pre-trained decoder layer, frozen, its attention bypassed", "layer", halves="mlp"
    ),
    "llm-lora": Arm(
        "pre-trained decoder layer, frozen, with trained low-rank adapters", "layer", low_rank=True
    ),
}
