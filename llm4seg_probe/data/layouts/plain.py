"""Folders as people have them: ``images/`` beside ``masks/``, or ``masks/0/``, ``masks/1/``, …

An image and its mask share their name, up to the suffix and an ending such as ``_mask``. A table
``groups.csv`` (or ``samples.csv``) with the columns ``image`` and ``group`` says whose the images
are, and, in further columns ``modality`` and ``together``, what they are and which groups may be
one person; without it each image is a group of its own. Three-dimensional files are volumes, and
so is a folder inside ``images/`` that holds the slices of one DICOM series.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.groups import Rows, matched
from llm4seg_probe.data.layouts.documented import (
    DESCRIPTION,
    modality_of,
    read_description,
    read_table,
)
from llm4seg_probe.data.layouts.other_names import (
    IMAGES,
    MASKS,
    images_below,
    under_other_names,
)
from llm4seg_probe.data.leftovers import CALL_IT_GROUPS, READ, finding, is_of_a_system, unused
from llm4seg_probe.data.names import Matcher, alike, normal
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import DEAD_LINK, IRREGULAR, is_file_there, is_irregular

KIND = "classes of folders"
_NUMBER = re.compile(r"^\d+[\s_\-.]+(?=\D)")


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


def class_folders(
    folder: Path, classes: tuple[str, ...], masks_in: Callable[[Path], set[str]]
) -> tuple[list[Path], list[Finding]]:
    """The folder itself, or the folder of each class in the order of the classes.

    ``masks_in`` are the images that have a mask in a folder. Folders stand for classes where the
    folder itself holds no mask: by name where they have the classes' names, else in natural order,
    which is told. Raises DataError where both could be meant, and where the numbers differ.
    """
    inner = sorted(
        (path for path in folder.iterdir() if path.is_dir() and not is_of_a_system(path)),
        key=lambda path: natural(path.name),
    )
    direct = masks_in(folder)
    holding = [path for path in inner if path.name not in direct and masks_in(path)]
    if direct:
        _not_both(folder, holding, classes)
        return [folder], []
    if not holding:
        return [folder], []
    return _in_order(folder, holding, classes)


def _not_both(folder: Path, holding: list[Path], classes: tuple[str, ...]) -> None:
    """Raise DataError where masks lie in a folder, and beside them one folder per class."""
    named = [path.name for path in holding if _key(path.name) in set(map(_key, classes))]
    if named or (len(classes) > 1 and len(holding) == len(classes)):
        raise DataError(
            f"{folder}: holds masks, and folders that could be those of the classes "
            f"({', '.join(path.name for path in holding)}): move one of the two away"
        )


def _in_order(
    folder: Path, holding: list[Path], classes: tuple[str, ...]
) -> tuple[list[Path], list[Finding]]:
    by_name: dict[str, Path] = {}
    for path in holding:
        for key in dict.fromkeys((_key(path.name), _key(_NUMBER.sub("", path.name)))):
            by_name.setdefault(key, path)
    found = [by_name.get(_key(name)) for name in classes]
    there = [path for path in found if path is not None]
    names = ", ".join(path.name for path in holding)
    if there and (len(there) < len(classes) or len(set(there)) < len(classes)):
        lacking = [name for name, path in zip(classes, found, strict=True) if path is None]
        raise DataError(
            f"{folder}: has folders of classes ({names}), but none for {', '.join(lacking)}: name "
            "the folders as the classes, or number them in their order"
        )
    if there:
        rest = [path.name for path in holding if path not in there]
        noticed = [_told(there, classes, "note", "By their names")]
        if rest:
            what = f"folders of masks are not used, no class has their name: {', '.join(rest)}"
            noticed.append(Finding("warning", KIND, (), what, "Name the classes (--classes)"))
        return there, noticed
    if len(holding) != len(classes):
        raise DataError(
            f"{folder}: holds {len(holding)} folders of masks ({names}), but data.classes names "
            f"{len(classes)} ({', '.join(classes)})"
        )
    guess = len(classes) > 1 and not all(path.name.isdecimal() for path in holding)
    advice = "In the order of the folders; name them as the classes to be sure"
    return holding, [_told(holding, classes, "warning" if guess else "note", advice)]


def _told(folders: list[Path], classes: tuple[str, ...], severity: str, advice: str) -> Finding:
    pairs = ", ".join(f"{path.name} is {name}" for path, name in zip(folders, classes, strict=True))
    return Finding(severity, KIND, (), f"of the folders of masks {pairs}", advice)  # type: ignore[arg-type]


def _key(name: str) -> str:
    """Folders are written as the classes, in other case, or with dashes for what is no letter."""
    return re.sub(r"[^\w]+|_", " ", alike(name)).strip()


ENDINGS = (
    "_mask", "_segmentation", "_seg", "_label", ".seg", "-mask", "-segmentation", "-seg", "-label",
)  # fmt: skip
"""What a mask's name may have behind the image's, in any case; a dot and dashes as 3D Slicer."""
TABLES = READ


def read_folder(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open a folder with ``images/`` and ``masks/``; raises DataError that names what is wrong."""
    for name in (IMAGES, MASKS):
        if not (folder / name).is_dir():
            if meant := under_other_names(folder):
                raise DataError(f"{folder}: has no folder '{name}': {meant}")
            there = sorted(path.name for path in folder.iterdir())[:8]
            raise DataError(
                f"{folder}: has no folder '{name}'; it holds {', '.join(there) or 'nothing'}. "
                f"A data set has {IMAGES}/ and {MASKS}/, imagesTr/ and labelsTr/, or a "
                "samples.csv; sets of the paper are prepared (llm4seg-probe data list)"
            )
    images = by_stem(folder / IMAGES)
    if not images:
        raise none_in(folder / IMAGES)
    places, noticed = class_folders(
        folder / MASKS, classes, lambda place: _images_masked_in(place, images)
    )
    masks = [masks_of(path, images)[0] for path in places]
    known, about_groups = read_groups(folder, images)
    description = read_description(folder)
    stated = str(description.get("modality", ""))
    samples = []
    for stem, path in images.items():
        row = known.get(stem, {})
        for found, place in zip(masks, places, strict=True):
            if stem not in found:
                remedy = other_format(place, stem) or "add it (of the image's name)"
                raise DataError(f"{path}: has no mask in {place}: {remedy}, or take the image out")
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
    used = {path for sample in samples for path in sample.files}
    noticed += [*about_groups, *_left_over(folder, places, used)]
    return Collection(folder.resolve().name, tuple(samples), classes, noticed=tuple(noticed))


def other_format(folder: Path, stem: str) -> str:
    """The remedy for a mask that is there in a format that is not read; empty if none is there."""
    for path in sorted(folder.iterdir()):
        name = path.name.split(".")[0]
        if formats.is_image(path) or (
            not Matcher([stem]).find(name) and not Matcher([stem]).find(_bare(name))
        ):
            continue
        if path.is_symlink() and not path.exists():
            return f"{path.name} {DEAD_LINK}"
        return f"{path.name} is in a format that is not read here; convert it to PNG or NIfTI"
    return ""


def none_in(folder: Path) -> DataError:
    """The error for a folder without images, which says where they lie if that is one deeper."""
    below = images_below(folder)
    if below is None:
        endings = Counter(path.suffix for path in folder.iterdir() if path.is_file())
        there = ", ".join(f"{count} {ending or 'without'}" for ending, count in endings.items())
        return DataError(
            f"{folder}: no images ({', '.join(formats.SUFFIXES)}) in this folder"
            + (f"; its files end in other ways ({there}): convert them" if there else "")
        )
    inside = below.relative_to(folder)
    return DataError(
        f"{folder}: no images in this folder itself; there are some in folders below it "
        f"({inside.as_posix()}): move them up, each with its folder's name ("
        f"{'_'.join(inside.parts)}), masks alike, or list image, mask and group in a CSV table "
        "and give that as the data set"
    )


def _left_over(folder: Path, places: list[Path], used: set[Path]) -> Iterator[Finding]:
    """Findings on what lies in the folder and is not used."""
    inside = {*used, *places}
    for place in dict.fromkeys((folder / IMAGES, folder / MASKS, *places)):
        yield from unused(folder, place, inside, formats.is_image, "no image has its name")
    own = {folder / name for name in (IMAGES, MASKS, DESCRIPTION, *TABLES)}
    for found in unused(folder, folder, own, formats.is_image, "it lies outside of images/"):
        meant = found.advice == CALL_IT_GROUPS
        yield found if meant else replace(found, severity="note", advice="Nothing needs to be done")


def by_stem(folder: Path) -> dict[str, Path]:
    """Images of a folder by their name without suffix, in natural order.

    A folder with the slices of a DICOM series is one image. Raises DataError for two files of
    one name.
    """
    found: dict[str, Path] = {}
    taken: dict[str, str] = {}
    for path in sorted(folder.iterdir(), key=lambda path: natural(path.name)):
        if is_of_a_system(path):
            continue
        if formats.suffix_of(path) is not None and is_irregular(path):
            raise DataError(f"{path}: {IRREGULAR}")
        if not formats.is_image(path):
            continue
        stem = path.name if path.is_dir() else formats.stem_of(path)
        if normal(stem) in taken:
            other = found[taken[normal(stem)]]
            raise DataError(f"{path}: has the same name as {other.name}; which one counts?")
        taken[normal(stem)] = stem
        found[stem] = path
    return found


def masks_of(folder: Path, images: Iterable[str]) -> tuple[dict[str, Path], list[Path]]:
    """The masks of a folder by the image that each belongs to, and those of no image.

    Endings such as ``_mask`` are taken off. Raises DataError for two masks of one image, also
    where the second one has a number behind its ending (``_mask_1``).
    """
    finder = Matcher(images)
    found: dict[str, Path] = {}
    others: list[Path] = []
    for stem, path in by_stem(folder).items():
        image = finder.find(stem)
        if image is None:
            image = finder.find(_SECOND.sub("", stem) if _SECOND.search(stem) else _bare(stem))
        if image is None:
            others.append(path)
            continue
        if image in found:
            raise DataError(
                f"{folder}: {found[image].name} and {path.name} are both masks of '{image}'; "
                "merge them into one"
            )
        found[image] = path
    return found, others


def _images_masked_in(folder: Path, images: Iterable[str]) -> set[str]:
    finder = Matcher(images)
    stems = (
        path.name if path.is_dir() else formats.stem_of(path)
        for path in folder.iterdir()
        if not is_of_a_system(path) and formats.is_image(path)
    )
    found = (finder.find(stem) or finder.find(_bare(stem)) for stem in stems)
    return {image for image in found if image is not None}


def _bare(stem: str) -> str:
    """The name of a mask without its ending."""
    ending = next((e for e in ENDINGS if stem.lower().endswith(e)), "")
    return stem[: len(stem) - len(ending)]


_SECOND = re.compile(rf"({'|'.join(map(re.escape, ENDINGS))})[_\- ]?\(?\d+\)?$", re.IGNORECASE)
"""An ending with the number of a further mask of the same image."""


def read_groups(folder: Path, images: Iterable[str]) -> tuple[Rows, list[Finding]]:
    """Rows of ``groups.csv`` or ``samples.csv`` by image, and what matches on neither side."""
    there = [folder / name for name in TABLES if is_file_there(folder / name, DataError)]
    if not there:
        return {}, []
    path = there[0]
    table = read_table(path, ())
    rows = [{str(name): str(value) for name, value in row.items()}
            for row in table.to_dict("records")]  # fmt: skip
    known, noticed = matched(rows, images, path, ENDINGS)
    for other in there[1:]:
        why = f"{path.name} says whose the images are"
        noticed.append(finding((other.name,), why, warning=False))
    return known, noticed
