"""Names of scores in others' tables: which score they are, of which side, and its direction.

``val_loss``, "HD95 (mm)", ``mIoU`` and ``test/dice`` are brought to the registry's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llm4seg_probe.column_words import SIDES, words
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.scores import SCORES, Score

_LONGEST = 6
"""Words of a score's name: longer stretches of a column's name are none."""
_FALSE_POSITIVES = re.compile(
    r"(?<![A-Za-z])(?:FPs(?![A-Za-z])"
    r"|(?i:fps(?=[ _]*(?:/|per)[ _]*(?:image|img|scan|case|patient|volume|slice|exam|study"
    r"|subject|lesion|mm)|[ _](?:slice|lesion)(?!/)))"
    r"|(?i:(?<=num_)fps|(?<=lesion_)fps|(?<=lesion )fps|(?<=number of )fps|(?<=# )fps))"
)
"""False positives, and no frames per second: the plural, or a number of them in each image."""
_OTHERS_TOO = frozenset(("entropy", "noise", "iou_gap", "loss_gap"))
"""Names of ours by which others call another quantity, or one that improves by shrinking: nothing
follows from them."""
_BY_NAME: dict[str, Score] = {
    **{other: score for score in reversed(SCORES.values()) for other in score.synonyms},
    **{name: score for name, score in SCORES.items() if name not in _OTHERS_TOO},
}
GENERIC = frozenset(
    (
        "score", "value", "result", "metric", "metrics", "mean", "average", "avg", "measure",
        "outcome", "performance", "delta", "difference", "change", "response", "points",
        "quality",
    )
)  # fmt: skip
"""Names that say that a column is a score, and not which: higher is guessed to be better."""

_AGGREGATES = frozenset(
    (
        "mean", "avg", "average", "median", "m", "macro", "micro", "weighted", "overall",
        "total", "best", "final", "last", "max", "min", "score", "value", "coefficient", "coef",
        "index", "pct", "percent", "percentage", "per_cent", "raw",
    )
)  # fmt: skip
_UNITS = frozenset(
    (
        "mm", "cm", "um", "px", "pixel", "pixels", "voxel", "voxels", "vox", "ms", "s", "sec",
        "mb", "gb", "db",
    )
)  # fmt: skip
_WRONG = {"loss": "loss", "losses": "loss", "error": "error", "errors": "error", "err": "error"}
_BETTER = frozenset(("improvement", "improvements", "gain", "gains"))
_OF_PATIENTS = frozenset(
    ("survival", "progression", "relapse", "recurrence", "event", "death", "saving", "savings")
)
"""Words that make of a time or a cost something of which more is better."""
_TURNED = frozenset(
    (
        "1", "100", "one", "neg", "negative", "negated", "minus", "inverse", "inverted", "inv",
    )
)  # fmt: skip
_MINUS = re.compile(
    r"\s*(1|100|one)?\s*[-−–‑]\s*[^\W\d]|.*[∆Δ]|.*\b(1|100)\s*[-−–‑]\s*[a-z]+\b", re.IGNORECASE
)
_JOINTS = frozenset(("at", "per", "to", "vs"))
_DERIVED = frozenset(
    (
        "gap", "drop", "degradation", "decrease", "increase", "reduction", "change", "delta",
        "diff", "difference", "rank", "ranking", "skill", "saved", "savings", "efficiency",
        "effectiveness", "free", "no", "without", "threshold", "thresh", "weight", "std", "sd",
        "stdev", "stddev", "se", "sem", "stderr", "var", "variance", "ci", "p", "pvalue", "n",
        "inverse", "inverted", "inv", "negated", "reversed", "complement", "complementary",
        "dissimilarity", "mismatch", "disagreement", "deficit", "shortfall", "penalty", "δ",
        "fehler", "verlust", "abweichung", "differenz", "unterschied", "perte", "erreur", "écart",
        "ecart", "différence", "perdita", "errore", "differenza", "scarto", "pérdida", "perdida",
        "diferencia", "perda", "erro", "diferença", "损失", "误差", "错误",
    )
)  # fmt: skip
"""Words that make of a score's name that of something else, which may improve the other way."""
_MARKED = re.compile(
    r"(?P<lower>[↓⬇▼↘]|\b(?:lower|smaller|less|fewer)[ _-]?(?:is|are|=)?[ _-]?better\b)"
    r"|(?P<higher>[↑⬆▲↗]|\b(?:higher|larger|greater|more)[ _-]?(?:is|are|=)?[ _-]?better\b)",
    re.IGNORECASE,
)
"""The direction in which a score improves, where its column says so itself."""


@dataclass(frozen=True)
class ScoreName:
    """The name of a score column, taken apart: the score, its side, and what is left (a region)."""

    score: Score | None
    side: str = ""
    rest: str = ""


def parse_score(name: object) -> ScoreName:
    """Take the name of a column apart; ``score`` is None where no known score is in it.

    Nor is it known of a difference, a spread or a rank of scores, of a score that is turned round
    (``1 - dice``), or where two scores that improve in opposite directions are named.

    >>> found = parse_score("Dice (test)")
    >>> found.score.name, found.side, found.rest
    ('dice', 'test', '')
    >>> parse_score("HD95 tumour (mm)").rest, parse_score("val_cross_entropy_loss").score.name
    ('tumour', 'loss')
    >>> parse_score("precision at 95 recall").score.name, parse_score("Dice drop").score
    ('precision', None)
    """
    name = _FALSE_POSITIVES.sub("false positives ", str(name))
    whole = words(_MARKED.sub(" ", name))
    if whole in _BY_NAME and not _MINUS.match(str(name)):
        return ScoreName(_BY_NAME[whole])
    parts = [part for part in whole.split("_") if part]
    head, tail = _clause(parts)
    sides = [SIDES[part] for part in head if part in SIDES]
    if not sides and not any(part in _BY_NAME for part in tail):
        sides = [SIDES[part] for part in tail if part in SIDES]
    side = sides[0] if sides else ""
    kept = [part for part in head if part not in SIDES]
    score, span = _score_in(kept)
    if score is None or _MINUS.match(str(name)):
        return ScoreName(None, side)
    if score.name == "latency" and set(parts) & _OF_PATIENTS:
        return ScoreName(None, side)
    units = frozenset() if score.fraction else _UNITS  # GB beside Dice is the gallbladder
    left = [
        part for place, part in enumerate((*kept[: span[0]], *kept[span[1] :], *tail))
        if (part not in _AGGREGATES or (part == "m" and place >= span[0]))
        and part not in units and part not in _BY_NAME and part not in SIDES
    ]  # fmt: skip
    return ScoreName(score, side, "_".join(left))


def _clause(parts: list[str]) -> tuple[list[str], list[str]]:
    """What is measured, and at, per or until what: "precision at 95 recall", "FP per scan"."""
    inside = {
        place for start, stop in _spans(len(parts)) if stop - start > 1
        and "_".join(parts[start:stop]) in _BY_NAME for place in range(start, stop)
    }  # fmt: skip
    for place, part in enumerate(parts):
        if place and part in _JOINTS and place not in inside:
            return parts[:place], parts[place + 1 :]
    return parts, []


def _score_in(kept: list[str]) -> tuple[Score | None, tuple[int, int]]:
    """The score that words name, and where; None where none is, or two that disagree."""
    nothing = (None, (0, 0))
    if not kept or kept[0] in _TURNED:
        return nothing
    found = _scores_of(kept)
    covered = {place for start, stop in found if stop - start > 1 for place in range(start, stop)}
    if any(part in _DERIVED and place not in covered for place, part in enumerate(kept)):
        return nothing
    if not found:
        return nothing
    wrong = [span for span in found if found[span].name in _WRONG.values()]
    if wrong and set(kept) & _BETTER:
        return nothing  # "loss improvement"
    for span in wrong:  # "loss_dice", "dice_loss", "top-1 error"
        beside = {place for other in found if other != span for place in other}
        if len(found) == 1 or beside & set(span):
            return found[span], span
    better = [span for span in found if found[span].name == "gain"]
    if better and "improvement" in kept:
        return found[better[0]], better[0]
    if len({score.lower_is_better for score in found.values()}) > 1:
        return nothing
    best = max(found, key=lambda span: (span[1] - span[0], span[0]))
    return found[best], best


def _scores_of(kept: list[str]) -> dict[tuple[int, int], Score]:
    """The scores that stretches of words name, the longest first, none within another."""
    found: dict[tuple[int, int], Score] = {}
    taken: set[int] = set()
    for start, stop in _spans(len(kept)):
        text = "_".join(kept[start:stop])
        text = _WRONG.get(text, text)
        if text in _BY_NAME and not taken & set(range(start, stop)):
            found[start, stop] = _BY_NAME[text]
            taken |= set(range(start, stop))
    return found


def _spans(length: int) -> Iterator[tuple[int, int]]:
    """Stretches of words, the longest first, of equal ones the last."""
    for size in range(min(length, _LONGEST), 0, -1):
        for start in range(length - size, -1, -1):
            yield start, start + size


def known(name: str) -> Score | None:
    """The registered score that a column's name tells, None for another.

    >>> known("mIoU").name, known("HD95 (mm)").lower_is_better, known("colour")
    ('iou', True, None)
    """
    return parse_score(name).score


def own_name(column: object) -> str:
    """Our name of a score where the column says it; else the column's own, of a score like it.

    Scores that improve in one direction share a row of the registry: FNR is read as FPR is, and is
    called FNR.

    >>> own_name("IoU (%)"), own_name("FNR"), own_name("loss improvement")
    ('iou', 'FNR', 'loss improvement')
    """
    kind = known(str(column))
    said = {part for part in words(column).split("_") if part and part not in SIDES}
    bare = said - _AGGREGATES - _UNITS
    return kind.name if kind is not None and bare == {kind.name} else str(column)


def speaks_of_a_score(name: object) -> bool:
    """Whether the name of a column has a score's name in it, or says which way is better.

    >>> [speaks_of_a_score(name) for name in ("-HD95", "Dice drop", "Ours ↓", "Synapse")]
    [True, True, True, False]
    """
    parts = words(_MARKED.sub(" ", str(name))).split("_")
    return bool(_MARKED.search(str(name))) or any(part in _BY_NAME for part in parts)


@dataclass(frozen=True)
class Direction:
    """Whether smaller values are better, and how that is known."""

    lower_is_better: bool
    how: Literal["stated", "name", "guess"]


def direction(score: str, stated: bool | None = None) -> Direction:
    """The direction in which a score improves: as stated, else by its name.

    An arrow or "lower is better" in the name counts where the score is not known.

    Raises ConfigError where the name does not tell, or tells two things: half of all verdicts would
    be the wrong way round.
    """
    if stated is not None:
        return Direction(stated, "stated")
    kind = known(score)
    marks = {match.lastgroup == "lower" for match in _MARKED.finditer(score)}
    if len(marks) > 1 or (kind is not None and marks - {kind.lower_is_better}):
        usual = (
            ""
            if kind is None
            else (
                f", and a {'lower' if kind.lower_is_better else 'higher'} {kind.label} usually is"
            )
        )
        raise ConfigError(
            f"is a higher or a lower '{score}' better? Its name says one thing by its mark{usual}: "
            "add --higher-is-better or --lower-is-better (in Python lower_is_better=False or True)"
        )
    if marks:
        return Direction(marks.pop(), "name")
    if kind is not None:
        return Direction(kind.lower_is_better, "name")
    parts = set(words(score).split("_"))
    beside = parts - GENERIC - _AGGREGATES - _UNITS - SIDES.keys()
    if parts & GENERIC and not beside and not _MINUS.match(score):
        return Direction(False, "guess")
    raise ConfigError(
        f"is a higher or a lower '{score}' better? The name does not tell: add --higher-is-better "
        "or --lower-is-better (in Python lower_is_better=False or True)"
    )


def default_margin(score: str, largest: float) -> float | None:
    """Half a point where the score is a fraction, in its own unit; None where it is none.

    largest: largest score of the table, which tells fractions from percentages.
    """
    kind = known(score)
    if kind is None or not kind.fraction:
        return None
    return 0.5 if largest > 1.5 else 0.005
