"""The numbers of the paper's figures (LLM4Seg, MICCAI 2025), to stand beside ours.

Scores are fractions, as in our tables; the paper prints per cent. They are of one run each: the
figures give no spread. Activation IoU and rank are printed in the figure with the activation maps;
IoU by layer was read off the layer figure, to about 0.0002.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd


@dataclass(frozen=True)
class Statement:
    """Something that a figure of the paper shows, as a difference that can be taken here too.

    ``a`` and ``b`` are conditions of the table named, as claims write them; ``theirs`` is a − b
    in the paper, ``margin`` the smallest difference that matters. ``shows`` is whether the figure
    has a higher than b, or the two alike.
    """

    says: str
    table: Literal["scores", "rank", "maps"]
    score: str
    a: str
    b: str
    theirs: float
    margin: float
    shows: Literal["higher", "alike"] = "higher"


def activation_iou() -> pd.DataFrame:
    """Panel (b): ``dataset, arm, before, after``; the plain CNN has one value, given as both."""
    rows = [
        ("Average", "cnn", 0.281, 0.281),
        ("Average", "transformer", 0.338, 0.447),
        ("Average", "llm", 0.358, 0.464),
        ("BUSI", "cnn", 0.214, 0.214),
        ("BUSI", "transformer", 0.233, 0.393),
        ("BUSI", "llm", 0.264, 0.452),
        ("ISIC", "cnn", 0.317, 0.317),
        ("ISIC", "transformer", 0.409, 0.575),
        ("ISIC", "llm", 0.429, 0.589),
    ]
    return pd.DataFrame(rows, columns=["dataset", "arm", "before", "after"])


def rank() -> pd.DataFrame:
    """Panel (c): ``arm, effective_rank, lsvr``, the numbers beside the arrows."""
    rows = [
        ("cnn", 5.51, 0.74),
        ("transformer", 5.26, 0.73),
        ("llm-trainable", 6.93, 0.98),
        ("llm", 7.46, 0.98),
    ]
    return pd.DataFrame(rows, columns=["arm", "effective_rank", "lsvr"])


_CNN, _TRANSFORMER = 0.7687, 0.7727
_FROZEN = (
    0.7671, 0.7710, 0.7743, 0.7772, 0.7763, 0.7739, 0.7744, 0.7752,
    0.7744, 0.7729, 0.7763, 0.7750, 0.7753, 0.7758, 0.7768, 0.7754,
)  # fmt: skip
_TRAINED = (
    0.7755, 0.7761, 0.7778, 0.7751, 0.7737, 0.7759, 0.7751, 0.7758,
    0.7758, 0.7773, 0.7742, 0.7767, 0.7775, 0.7737, 0.7748, 0.7758,
)  # fmt: skip


def layers() -> pd.DataFrame:
    """The layer figure, LLaMA-3.2-1B in CMUNeXt: ``arm, layer, iou``, layers counted from 1.

    Arms without a layer of a language model have no number in ``layer``.
    """
    rows: list[tuple[str, int | None, float]] = [
        ("cnn", None, _CNN),
        ("transformer", None, _TRANSFORMER),
    ]
    for arm, scores in (("llm", _FROZEN), ("llm-trainable", _TRAINED)):
        rows += [(arm, layer, iou) for layer, iou in enumerate(scores, start=1)]
    return pd.DataFrame(rows, columns=["arm", "layer", "iou"]).astype({"layer": "Int64"})


MAPS = (
    Statement(
        "Maps agree better with the masks after the frozen layer than before it",
        "maps", "iou", "llm@after", "llm@before", 0.107, 0.02,
    ),
    Statement(
        "So they do across the trained transformer",
        "maps", "iou", "transformer@after", "transformer@before", 0.109, 0.02,
    ),
    Statement(
        "The gain across the two is the same on average",
        "maps", "iou", "llm@after - llm@before", "transformer@after - transformer@before",
        -0.002, 0.02, "alike",
    ),
    Statement(
        "After the frozen layer they agree better than in the plain CNN",
        "maps", "iou", "llm@after", "cnn@after", 0.183, 0.02,
    ),
)  # fmt: skip
"""What panels (a) and (b) show, averaged over the paper's data sets."""

RANK = (
    Statement(
        "Effective rank is higher with the frozen layer than in the plain CNN",
        "rank", "effective_rank", "llm@after", "cnn@after", 1.95, 0.5,
    ),
    Statement(
        "It is higher than with the trained transformer",
        "rank", "effective_rank", "llm@after", "transformer@after", 2.20, 0.5,
    ),
    Statement(
        "It is higher than with the same layer trained",
        "rank", "effective_rank", "llm@after", "llm-trainable@after", 0.53, 0.5,
    ),
    Statement(
        "LSVR is higher with the frozen layer than in the plain CNN",
        "rank", "lsvr", "llm@after", "cnn@after", 0.24, 0.1,
    ),
)  # fmt: skip
"""What panel (c) shows."""

SCORES = (
    Statement(
        "The frozen layer improves the masks of the plain CNN",
        "scores", "iou", "llm", "cnn", _FROZEN[14] - _CNN, 0.005,
    ),
    Statement(
        "It improves them by more than a trained transformer does",
        "scores", "iou", "llm", "transformer", _FROZEN[14] - _TRANSFORMER, 0.005,
    ),
)  # fmt: skip
"""What the layer figure shows at the layer that the paper uses, the 15th."""


_LAYERED = re.compile(r"(?P<arm>llm|llm-trainable)(\[layer=(?P<layer>\d+)\])?")


def on_layers(conditions: Collection[str]) -> tuple[Statement, ...]:
    """What the layer figure shows, of those of the layers that ``conditions`` hold.

    conditions: arms, with the layer where it is not the usual one, such as ``llm[layer=1]``.
    """
    frozen = _of_arm("llm", conditions)
    trained = [name.replace("llm", "llm-trainable", 1) for name in frozen]
    both = [pair for pair in zip(frozen, trained, strict=True) if pair[1] in conditions]
    early = [name for name in frozen if name.endswith(("[layer=1]", "[layer=2]"))]
    later = [name for name in frozen if name not in early]
    statements = [SCORES[0]]
    if early and later:
        gain = sum(_FROZEN[2:]) / len(_FROZEN[2:]) - sum(_FROZEN[:2]) / 2
        says = "Layers from the third on do better than the first two"
        statements.append(_on_scores(says, later, early, gain, "higher"))
    if len(both) > 1:
        gain = (sum(_FROZEN) - sum(_TRAINED)) / len(_FROZEN)
        says = "Over the layers, frozen and trained ones do equally well"
        ours, theirs = ([pair[side] for pair in both] for side in (0, 1))
        statements.append(_on_scores(says, ours, theirs, gain, "alike"))
    return tuple(statements)


def _of_arm(arm: str, conditions: Collection[str]) -> list[str]:
    """The conditions that are this arm at one layer, the usual layer first."""
    matches = [(name, _LAYERED.fullmatch(name)) for name in conditions]
    layers = {name: int(m["layer"] or 0) for name, m in matches if m and m["arm"] == arm}
    return sorted(layers, key=lambda name: layers[name])


def _on_scores(
    says: str,
    a: Sequence[str],
    b: Sequence[str],
    theirs: float,
    shows: Literal["higher", "alike"],
) -> Statement:
    return Statement(says, "scores", "iou", _mean(a), _mean(b), theirs, 0.005, shows)


def _mean(conditions: Sequence[str]) -> str:
    return f"mean({', '.join(conditions)})" if len(conditions) > 1 else conditions[0]
