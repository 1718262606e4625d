"""Names that mean the same: written by hand, in tables, by other systems, and on disk."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from llm4seg_probe.reading.names import is_there

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))


def normal(text: str) -> str:
    """Text composed (NFC), without invisible characters, spaces plain, none at its ends.

    >>> normal(" p\\u00a01\\u200b") == "p 1", len(normal("e\\u0301"))
    (True, 1)
    """
    shown = unicodedata.normalize("NFC", text).translate(_INVISIBLE)
    return re.sub(r"\s", " ", shown).strip()


def alike(text: str) -> str:
    """A key that is the same for names that differ in case, spaces, dashes, or a final ``.0``.

    Zeros before a number are left out where it is the whole name.

    >>> alike("P_01 "), alike("p 01"), alike("7.0"), alike("007")
    ('p 01', 'p 01', '7', '7')
    """
    folded = re.sub(r"[\s_\-]+", " ", normal(text).casefold()).strip()
    return re.sub(r"^0*(\d+)(\.0+)?$", r"\1", folded)


class Matcher:
    """Finds names by what people write for them: as they are, else whatever the case.

    Case counts where two names differ in nothing else.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._folded: dict[str, list[str]] = {}
        for name in names:
            self._exact.setdefault(name, name)
            self._exact.setdefault(normal(name), name)
            self._folded.setdefault(normal(name).casefold(), []).append(name)

    def find(self, text: str) -> str | None:
        """The name that is meant, or None."""
        for written in (text, normal(text)):
            if written in self._exact:
                return self._exact[written]
        folded = self._folded.get(normal(text).casefold(), [])
        return folded[0] if len(folded) == 1 else None


def on_disk(folder: Path, name: str) -> Path:
    """The path that a name in a table means: as written, else composed or decomposed, else alike.

    Where there is no such file the path as written.
    """
    plain = normal(name)
    for written in (name, plain, plain.replace("\\", "/")):
        for form in ("NFC", "NFD"):
            path = folder / unicodedata.normalize(form, written)
            if is_there(path):
                return path
    return folder / plain
