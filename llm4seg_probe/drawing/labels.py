"""Words and numbers as people read them: names of measures, sites and nulls; digits to show."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llm4seg_probe.scores import OURS

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
    **{score.name: Measure(score.label, score.unit) for score in OURS.values()},
    "activation_iou": Measure("Activation IoU", "0 to 1"),
    "snr_db": Measure("signal-to-noise ratio", "dB"),
    "foreground_share": Measure("attention to the foreground", "0 to 1"),
    "distance_ratio": Measure("distance of attention", "1: as to all tokens alike"),
    "iou_change": Measure("change of IoU"),
    "dice_change": Measure("change of Dice"),
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
    "calibrated": "masks drawn from the probabilities",
    "permuted": "positions exchanged",
    "random-map": "a linear map at random",
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


def setting(field: str, value: str) -> str:
    """What deviates in a condition, in words; of a path its last part is left.

    >>> setting("layer", "10"), setting("llm", "models/qwen-0.5b"), setting("site", "after")
    ('layer 10', 'qwen-0.5b', 'after')
    """
    word = _FIELDS.get(field, field)
    shown = value.rstrip("/").rpartition("/")[2] or value
    return f"{word} {shown}".strip()


_FIELDS = {
    "site": "",
    "llm": "",
    "data.split": "split",
    "train_images": "training images",
    "label_noise": "wrong masks",
    "steps_per_epoch": "steps per epoch",
}
"""How fields of a condition are called in labels; the others go by their own name."""


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


def effect(difference: float, low: float, high: float, decimals: int | None = None) -> str:
    """A difference with its interval, to the digits that the interval supports unless given.

    >>> effect(0.0081, -0.0012, 0.0174)
    '+0.008 [−0.001, +0.017]'
    >>> effect(1e-9, 4e-11, 2e-9)
    '+1e−09 [+4e−11, +2e−09]'
    >>> effect(float("nan"), float("nan"), float("nan"))
    '–'
    """
    if not math.isfinite(difference):
        return number(difference, 0)
    decimals = decimals_for(high - low) if decimals is None else decimals
    shown = number(difference, decimals, signed=True)
    reached = any(map(str.isdigit, shown.strip("+-0.−")))
    if difference != 0 and not reached and (decimals == 6 or not math.isfinite(high - low)):
        # Six decimals do not reach it: a loss of 1e-9 is no 0.
        values = (difference, low, high)
        texts = [f"{value:+.3g}".replace("-", MINUS) for value in values]
        return texts[0] if not math.isfinite(low) else f"{texts[0]} [{texts[1]}, {texts[2]}]"
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


def about(value: float) -> str:
    """A count that was estimated, to the digits that mean something.

    >>> about(23), about(259.0), about(1234), about(35917), about(math.inf)
    ('23', 'about 260', 'about 1200', 'tens of thousands', 'over a million')
    """
    if not math.isfinite(value) or value > 1e6:
        return "over a million"
    if value >= 1e5:
        return "hundreds of thousands"
    if value >= 1e4:
        return "tens of thousands"
    if value < 100:
        return f"{value:.0f}"
    step = 10 if value < 1000 else 100
    return f"about {step * round(value / step):.0f}"


def round_up(value: float) -> float:
    """The next number of 1, 1.5, 2, 3, 4, 5 or 8 times a power of ten: where an axis may end.

    >>> round_up(0.067), round_up(13.4)
    (0.08, 15.0)
    """
    power = 10.0 ** math.floor(math.log10(value))
    step = next(step for step in (1, 1.5, 2, 3, 4, 5, 8, 10) if step >= value / power - 1e-9)
    return float(f"{step * power:.12g}")


def shorten(name: str, longest: int) -> str:
    """A name of at most so many characters, its middle left out.

    >>> shorten("case-1/slice-0042", 11), shorten("short", 11)
    ('case-…-0042', 'short')
    """
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}…{name[-(longest - 1 - head) :]}"
