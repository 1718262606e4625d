"""A study that went on until it was decided, and of which no page can be drawn here."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from llm4seg_probe.results.result import Result
from llm4seg_probe.study.until_decided import Course


class Undrawn(Result):
    """How a study stands whose runs all lie elsewhere: its verdicts, and why there is no new page.

    Tables and page of its folder are as they were. ``course`` says how it came to its end.
    """

    def __init__(self, course: Course, folder: Path, runs: Path) -> None:
        self.course = course
        self.folder = folder
        """Where its scores lie, and its tables and page where it has some."""
        self._runs = runs

    @property
    def table(self) -> pd.DataFrame:
        """One row per claim: its verdict, the look that gave it, and the p-value there."""
        rows = [
            (name, path.decision.verdict, path.decision.look, path.decision.p_adjusted)
            for name, path in self.course.paths.items()
        ]
        return pd.DataFrame(rows, columns=["claim", "verdict", "look", "p_adjusted"])

    @property
    def sentences(self) -> tuple[str, ...]:
        """The course, and why the page was not drawn anew."""
        return self.course.sentence, self.why

    @property
    def why(self) -> str:
        """Why the page was not drawn anew, and what to do."""
        page = self.folder / "index.html"
        kept = f"{page} is as it was" if page.is_file() else "there is none yet"
        return (
            f"The page was not drawn anew ({kept}), since no run of the study has a folder in "
            f"{self._runs}: bring one there, or let it go on. Its scores are in "
            f"{self.course.store.path}."
        )
