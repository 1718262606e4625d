"""Words and numbers as people read them: names of measures, sites and nulls; digits to show."""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Measure:
    """A measured quantity: its name in a sentence, and its unit or range on an axis."""

    name: str
    unit: str = ""

    @property
    def axis(self) -> str:
        """Axis label: name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


MEASURES: dict[str, Measure] = {
    "iou": Measure("IoU", "0 to 1"),
    "dice": Measure("Dice", "0 to 1"),
    "precision": Measure("Precision", "0 to 1"),
    "recall": Measure("Recall", "0 to 1"),
    "hd95": Measure("95 % Hausdorff distance", "mm, or pixels without spacing"),
    "nsd": Measure("Surface Dice", "0 to 1"),
    "iou_reference": Measure("IoU as the reference implementation counts it", "0 to 1"),
    "iou_gap": Measure("IoU gap, training − validation"),
    "loss_gap": Measure("Loss gap, validation − training"),
    "activation_iou": Measure("Activation IoU", "0 to 1"),
    "auroc": Measure("AUROC", "0 to 1"),
    "contrast": Measure("Contrast", "Cohen's d"),
    "noise": Measure("Background noise", "SD of the map"),
    "sharpness": Measure("Sharpness"),
    "effective_rank": Measure("Effective rank", "directions"),
    "lsvr": Measure("LSVR", "nats"),
    "entropy": Measure("Entropy of the singular values", "nats"),
    "stable_rank": Measure("Stable rank", "directions"),
    "participation_ratio": Measure("Participation ratio", "directions"),
    "sigma1_share": Measure("Share of the largest singular value", "0 to 1"),
    "largest_token_share": Measure("Share of the largest token", "0 to 1"),
}

SITES: dict[str, str] = {
    "before": "Before the layer",
    "after": "After the layer",
    "tokens": "After the first adapter",
    "attention": "After the layer's attention",
    "layer": "After the decoder layer",
    "logits": "Logits",
}

NULLS: dict[str, str] = {
    "shuffled": "tokens exchanged between images",
    "untrained": "network before training",
    "gaussian": "Gaussian tokens",
    "other-image": "another image's map",
}


def measure(name: str, table: str = "scores") -> Measure:
    """The measure of a column of a table; a column that is not ours keeps its own name.

    >>> measure("iou").name, measure("iou", "maps").name
    ('IoU', 'Activation IoU')
    """
    key = "activation_iou" if (name, table) == ("iou", "maps") else name
    return MEASURES.get(key, Measure(name))


def site(name: str) -> str:
    """A site in words; encoder and decoder stages keep their names."""
    return SITES.get(name, name)


def null(name: str) -> str:
    """What was done to get a null, in words."""
    return NULLS.get(name, name)


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """A number with a true minus sign; a dash where there is none.

    >>> number(-0.01234, 3), number(0.5, 2, signed=True), number(float("nan"), 2)
    ('−0.012', '+0.50', '–')
    """
    if not math.isfinite(value):
        return "–"
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def decimals_for(width: float) -> int:
    """Decimals that show an interval of this width with two digits, between 0 and 6.

    >>> decimals_for(0.018), decimals_for(2.5), decimals_for(0.0)
    (3, 1, 3)
    """
    if not math.isfinite(width) or width <= 0:
        return 3
    return min(6, max(0, 1 - math.floor(math.log10(width))))


def effect(difference: float, low: float, high: float) -> str:
    """A difference with its interval, to the digits that the interval supports.

    >>> effect(0.0081, -0.0012, 0.0174)
    '+0.008 [−0.001, +0.017]'
    """
    decimals = decimals_for(high - low)
    shown = number(difference, decimals, signed=True)
    if not (math.isfinite(low) and math.isfinite(high)):
        return shown
    bounds = [number(bound, decimals, signed=True) for bound in (low, high)]
    return f"{shown} [{bounds[0]}, {bounds[1]}]"


def p_value(value: float) -> str:
    """A p-value to two digits that matter, never as zero.

    >>> p_value(0.0421), p_value(0.00002), p_value(0.5)
    ('0.042', '< 0.001', '0.50')
    """
    if not math.isfinite(value):
        return "–"
    if value < 0.001:
        return "< 0.001"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"


def count(value: float) -> str:
    """A whole number, or a dash where there is none.

    >>> count(12.0), count(float("nan"))
    ('12', '–')
    """
    return f"{value:.0f}" if math.isfinite(value) else "–"


def shorten(name: str, longest: int) -> str:
    """A name of at most so many characters, its middle left out.

    >>> shorten("case-1/slice-0042", 11), shorten("short", 11)
    ('case-…-0042', 'short')
    """
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[-(longest - 1 - head) :]}"
