"""What a page delivers, unpacked: where its folders lie, and which images it holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.folders import by_stem
from llm4seg_probe.errors import DataError

_SHOWN = 5  # folders that a message names


@dataclass(frozen=True)
class Found:
    """One image of a delivery."""

    name: str
    image: Path
    masks: tuple[Path, ...]
    """Several are parts of one mask."""
    group: str = ""
    """Patient, case or lesion, where the delivery says so."""
    side: str = ""
    """``train``, ``val`` or ``test``, where the delivery says so."""


@dataclass(frozen=True)
class Delivery:
    """An archive or folder as it was given, and the folders that its content lies in."""

    source: Path
    expected: str
    """What should be there, for messages."""
    roots: tuple[Path, ...]

    def folders(self) -> list[Path]:
        """All folders, the outer ones first, without hidden ones."""
        found = []
        for root in self.roots:
            inner = [path for path in root.rglob("*") if path.is_dir()]
            found += [root, *sorted(path for path in inner if _is_visible(path, root))]
        return found

    def folder(self, name: str, inside: str = "") -> Path | None:
        """The folder of that name with images in it, in a folder ``inside`` where given.

        Upper and lower case are the same. None where there is none; raises DataError where there
        are several.
        """
        found = [
            path
            for path in self.folders()
            if path.name.lower() == name.lower()
            and (not inside or path.parent.name.lower() == inside.lower())
            and any(map(formats.is_image, path.iterdir()))
        ]
        if len(found) > 1:
            raise DataError(
                f"{self.source}: holds the folder '{name}' {len(found)} times "
                f"({found[0]}, {found[1]}); which one counts?"
            )
        return found[0] if found else None

    def tables(self) -> list[Path]:
        """All CSV files."""
        return sorted(path for folder in self.folders() for path in folder.glob("*.csv"))

    def refusal(self) -> DataError:
        """The error for a delivery that is something else: what was expected, what was found."""
        found = []
        for folder in self.folders():
            kinds = Counter(
                formats.suffix_of(path) or path.suffix or "no suffix"
                for path in folder.iterdir()
                if path.is_file() and not path.name.startswith(".")
            )
            if kinds:
                files = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(2))
                found.append(f"{folder.name}/ ({files})")
        more = f" and {len(found) - _SHOWN} more folders" if len(found) > _SHOWN else ""
        return DataError(
            f"{self.source}: expected {self.expected}; found "
            f"{', '.join(found[:_SHOWN]) or 'no files'}{more}"
        )


def paired(images: Path, masks: Path, ending: str = "", side: str = "") -> list[Found]:
    """Images of one folder with the masks of the same name, plus ``ending`` in any case.

    Raises DataError that names an image without mask.
    """
    there = {stem.lower(): path for stem, path in by_stem(masks).items()}
    found = []
    for stem, path in by_stem(images).items():
        mask = there.get((stem + ending).lower())
        if mask is None:
            raise DataError(f"{path}: has no mask {stem}{ending} in {masks}")
        found.append(Found(stem, path, (mask,), side=side))
    return found


def _is_visible(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)
