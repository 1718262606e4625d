"""Images in one folder per class: ``FOLDER/CLASS/*.png``, or ``FOLDER/train/CLASS/*.png``.

With ``train``, ``val`` and ``test`` above the classes, these are the sides of ``data.split=own``.
A table ``groups.csv`` (image, group) in the folder says whose the images are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection, Sample
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.label_values import from_names
from llm4seg_probe.data.layouts.documented import SIDE_OF, modality_of, read_description
from llm4seg_probe.data.layouts.other_names import IMAGES, MASKS, under_other_names
from llm4seg_probe.data.layouts.plain import ENDINGS, TABLES, by_stem, read_groups
from llm4seg_probe.data.leftovers import is_of_a_system, unused
from llm4seg_probe.errors import DataError


def is_folders_of_classes(folder: Path) -> bool:
    """Whether a folder has images in folders below it, and none of these means images or masks."""
    inner = _inner(folder)
    if any(path.name in (IMAGES, MASKS) for path in inner) or under_other_names(folder):
        return False
    return any(_holds_images(path) for _, path in _class_folders(folder))


def read_folders_of_classes(folder: Path, classes: tuple[str, ...]) -> Collection:
    """Open such a folder; raises DataError that names what is wrong."""
    places = [(side, path) for side, path in _class_folders(folder) if _holds_images(path)]
    found = [(side, path, by_stem(path)) for side, path in places]
    for _, path, images in found:
        _refuse_masks(path, images)
    stems = Counter(stem for _, _, images in found for stem in images)
    twice = any(count > 1 for count in stems.values())
    rows = [
        (f"{path.relative_to(folder).as_posix()}/{stem}" if twice else stem, side, path.name, file)
        for side, path, images in found
        for stem, file in images.items()
    ]
    labels, noticed = from_names([label for _, _, label, _ in rows], classes, str(folder))
    known, about_groups = read_groups(folder, [name for name, *_ in rows])
    stated = str(read_description(folder).get("modality", ""))
    samples = tuple(
        Sample(
            image=name,
            group=known.get(name, {}).get("group") or name,
            modality=modality_of(known.get(name, {}).get("modality") or stated, file, str(file)),
            image_file=file,
            mask_files=(),
            together=known.get(name, {}).get("together", ""),
            side=side,
            labels=has,
        )
        for (name, side, _, file), has in zip(rows, labels, strict=True)
    )
    noticed += [*about_groups, *_left_over(folder, [path for _, path in places], samples)]
    return Collection(folder.resolve().name, samples, classes, noticed=tuple(noticed))


def _inner(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_of_a_system(path))


def _class_folders(folder: Path) -> Iterator[tuple[str, Path]]:
    """The folders that stand for classes, each with the side that it is on."""
    inner = _inner(folder)
    sides = {path: SIDE_OF.get(path.name.lower(), "") for path in inner}
    if inner and all(sides.values()):
        yield from ((sides[path], below) for path in inner for below in _inner(path))
    else:
        yield from (("", path) for path in inner)


def _holds_images(folder: Path) -> bool:
    return any(formats.is_image(path) for path in folder.iterdir() if not is_of_a_system(path))


def _refuse_masks(folder: Path, images: dict[str, Path]) -> None:
    """Raise DataError where masks lie between the images, as in BUSI's archive."""
    for stem, path in images.items():
        ending = next((end for end in ENDINGS if stem.lower().endswith(end)), "")
        if ending and stem[: -len(ending)] in images:
            raise DataError(
                f"{path}: looks like a mask of {stem[: -len(ending)]}: a folder per class holds "
                "images alone; for segmentation bring images and masks to images/ and masks/"
            )


def _left_over(folder: Path, places: list[Path], samples: tuple[Sample, ...]) -> Iterator[Finding]:
    used = {sample.image_file for sample in samples}
    above = {path.parent for path in places if path.parent != folder}
    for place in places:
        yield from unused(folder, place, used, formats.is_image, "it is in a folder of its own")
    own = {*places, *above, *(folder / name for name in (*TABLES, "dataset.json"))}
    for place in (folder, *above):
        yield from unused(folder, place, own, formats.is_image, "it is in no folder of a class")
