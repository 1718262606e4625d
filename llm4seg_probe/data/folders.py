"""Folders as people have them: ``images/`` beside ``masks/``, or ``masks/0/``, ``masks/1/``, …

An image and its mask share their name, up to the suffix and an ending such as ``_mask``. A table
``groups.csv`` (or ``samples.csv``) with the columns ``image`` and ``group`` says whose the images
are, and, in further columns ``modality`` and ``together``, what they are and which groups may be
one person; without it each image is a group of its own. Three-dimensional files are volumes, and
so is a folder inside ``images/`` that holds the slices of one DICOM series.
"""

from __future__ import annotations

from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.layout import modality_of, read_description, read_table
from llm4seg_probe.errors import DataError

IMAGES, MASKS = "images", "masks"
ENDINGS = ("_mask", "_segmentation", "_seg", "_label")
"""What a mask's name may have behind the image's, in any case."""
TABLES = ("groups.csv", "samples.csv")


def read_folder(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open a folder with ``images/`` and ``masks/``; raises DataError that names what is wrong."""
    for name in (IMAGES, MASKS):
        if not (folder / name).is_dir():
            there = sorted(path.name for path in folder.iterdir())[:8]
            raise DataError(
                f"{folder}: has no folder '{name}'; it holds {', '.join(there) or 'nothing'}. "
                f"A data set has {IMAGES}/ and {MASKS}/, imagesTr/ and labelsTr/, or a "
                "samples.csv; sets of the paper are prepared (llm4seg-probe data list)"
            )
    images = by_stem(folder / IMAGES)
    if not images:
        raise DataError(
            f"{folder / IMAGES}: no images ({', '.join(formats.SUFFIXES)}) in this folder"
        )
    mask_folders = _mask_folders(folder / MASKS, classes)
    masks = [_by_image(by_stem(path), path) for path in mask_folders]
    known = read_groups(folder)
    description = read_description(folder)
    stated = str(description.get("modality", ""))
    samples = []
    for stem, path in images.items():
        row = known.get(stem, {})
        for found, place in zip(masks, mask_folders, strict=True):
            if stem not in found:
                raise DataError(
                    f"{path}: has no mask in {place}: add it (of the image's name), or take the "
                    "image out"
                )
        samples.append(
            Sample(
                image=stem,
                group=row.get("group") or stem,
                modality=modality_of(row.get("modality") or stated, path, str(path)),
                image_file=path,
                mask_files=tuple(found[stem] for found in masks),
                together=row.get("together", ""),
            )
        )
    return Collection(folder.resolve().name, tuple(samples), classes)


def by_stem(folder: Path) -> dict[str, Path]:
    """Images of a folder by their name without suffix, in natural order.

    A folder with the slices of a DICOM series is one image. Raises DataError for two files of
    one name.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        if not formats.is_image(path):
            continue
        stem = path.name if path.is_dir() else formats.stem_of(path)
        if stem in found:
            raise DataError(f"{path}: has the same name as {found[stem].name}; which one counts?")
        found[stem] = path
    return found


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``benign (2)`` before ``benign (10)``."""
    parts: list[tuple[int, int, str]] = []
    digits = ""
    for character in name + "\0":
        if character.isdecimal() and character.isascii():
            digits += character
            continue
        if digits:
            parts.append((0, int(digits), ""))
            digits = ""
        parts.append((1, 0, character))
    return parts


def _mask_folders(folder: Path, classes: tuple[str, ...]) -> list[Path]:
    """``masks/`` itself, or one folder per class in the order of their names."""
    inner = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda p: p.name)
    if not inner:
        return [folder]
    if len(inner) != len(classes):
        raise DataError(
            f"{folder}: holds {len(inner)} folders of masks "
            f"({', '.join(path.name for path in inner)}), but data.classes names {len(classes)} "
            f"({', '.join(classes)})"
        )
    return inner


def _by_image(masks: dict[str, Path], folder: Path) -> dict[str, Path]:
    """The masks by the name of their image, endings such as ``_mask`` taken off."""
    found: dict[str, Path] = {}
    for stem, path in masks.items():
        ending = next((e for e in ENDINGS if stem.lower().endswith(e)), "")
        for name in dict.fromkeys((stem, stem[: len(stem) - len(ending)])):
            if name in found and name != stem:
                raise DataError(
                    f"{folder}: {found[name].name} and {path.name} are both masks of '{name}'; "
                    "merge them into one"
                )
            found[name] = path
    return found


def read_groups(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of ``groups.csv`` or ``samples.csv`` by image; empty where there is neither."""
    path = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if path is None:
        return {}
    table = read_table(path, ("image", "group"))
    rows = [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
    return {formats.stem_of(Path(row["image"])): row for row in rows}
