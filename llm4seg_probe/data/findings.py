"""Findings of `data check`: one a row, errors first, notes last."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

_NAMED = 3
_ORDER = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing about a data set that somebody should know before training on it."""

    severity: Literal["error", "warning", "note"]
    """``error``: training on the set as it is would fail or be wrong. ``note``: what was taken
    from the files, for whoever wants to know."""
    kind: str
    images: tuple[str, ...]
    """Names of the images, or files, that it is about; empty: the whole set."""
    what: str
    advice: str

    @property
    def sentence(self) -> str:
        """The finding in one line, with the first few of its images."""
        shown = ", ".join(self.images[:_NAMED])
        more = f" and {len(self.images) - _NAMED} more" if len(self.images) > _NAMED else ""
        where = f" ({shown}{more})" if shown else ""
        return f"{self.severity}: {self.kind}: {self.what}{where}. {self.advice}"


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings that say the same of several images as one, errors before warnings, then notes."""
    found: dict[tuple[str, str, str, str], Finding] = {}
    for finding in findings:
        key = (finding.severity, finding.kind, finding.what, finding.advice)
        before = found.get(key, replace(finding, images=()))
        images = tuple(dict.fromkeys((*before.images, *finding.images)))
        found[key] = replace(finding, images=images)
    return sorted(found.values(), key=lambda finding: _ORDER.index(finding.severity))


def findings_table(findings: Iterable[Finding]) -> pd.DataFrame:
    """The findings as the rows of ``check.csv``, names of images joined by semicolons."""
    rows = [[f.severity, f.kind, "; ".join(f.images), f.what, f.advice] for f in findings]
    return pd.DataFrame(rows, columns=["severity", "kind", "images", "what", "advice"])
