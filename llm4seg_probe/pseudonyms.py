"""Numbers in place of the names of patients and images, for what is shared.

The same name has the same number wherever it stands. Which name is which number is written beside
what is shared, never into it.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from llm4seg_probe.storage import atomically

SHORTEST = 3
"""Letters and digits that a name has at least where it is looked for within a sentence."""


@dataclass(frozen=True)
class Pseudonyms:
    """A number for each name: ``patient-01``, ``image-001``."""

    names: Mapping[str, str]

    @classmethod
    def of(cls, patients: Collection[str], images: Collection[str]) -> Pseudonyms:
        """Number names in an order that says nothing of them: that of a hash."""
        found: dict[str, str] = {}
        for word, names in (("image", set(images) - set(patients)), ("patient", set(patients))):
            width = len(str(len(names)))
            order = sorted(names, key=_order)
            found |= {name: f"{word}-{number:0{width}d}" for number, name in enumerate(order, 1)}
        return cls(found)

    def name(self, name: str) -> str:
        """The number of a name; a text that is none stays as it is."""
        return self.names.get(name, name)

    def within(self, text: str) -> str:
        """A sentence with its names replaced: those of three letters and digits, one a letter."""
        return self._within(text, self._in_words)

    def within_paths(self, text: str) -> str:
        """A sentence that names files: a name is replaced whatever ends the file's name adds."""
        return self._within(self._within(text, self._in_files), self._apart)

    def write_key(self, path: Path) -> Path:
        """Write which name is which number; returns the path."""
        with (
            atomically(path) as partial,
            partial.open("w", encoding="utf-8", newline="") as out,
        ):
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["name", "pseudonym"])
            for name in sorted(self.names, key=self.names.__getitem__):
                writer.writerow([name, self.names[name]])
        return path

    def _within(self, text: str, pattern: re.Pattern[str] | None) -> str:
        return text if pattern is None else pattern.sub(lambda found: self.names[found[0]], text)

    @cached_property
    def _in_words(self) -> re.Pattern[str] | None:
        return self._pattern(r"(?<![\w-])({})(?![\w-])", SHORTEST)

    @cached_property
    def _apart(self) -> re.Pattern[str] | None:
        return self._pattern(r"(?<![A-Za-z0-9])({})(?![A-Za-z0-9])", SHORTEST)

    @cached_property
    def _in_files(self) -> re.Pattern[str] | None:
        return self._pattern(r"(?<=[/\\])({})(?=[._/\\-])", 1)

    def _pattern(self, form: str, shortest: int) -> re.Pattern[str] | None:
        """A pattern of the names that can be told within a sentence."""
        known = [
            name
            for name in sorted(self.names, key=len, reverse=True)
            if len(name) >= shortest and (shortest == 1 or any(map(str.isalpha, name)))
        ]
        return re.compile(form.format("|".join(map(re.escape, known)))) if known else None


def _order(name: str) -> str:
    return hashlib.sha256(f"pseudonym {name}".encode()).hexdigest()


def key_beside(out: Path) -> Path:
    """Where the key of a folder stands: beside it, so that the folder may be shared."""
    whole = Path(out).resolve()
    return whole.with_name(f"{whole.name}-pseudonyms-key.csv")
