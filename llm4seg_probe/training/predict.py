"""Predict masks of images without masks, in the images' own grid and format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.data import formats, mask_files
from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.data.contact_sheet import outlined
from llm4seg_probe.data.findings import Finding
from llm4seg_probe.data.layouts.documented import DESCRIPTION, modality_of, read_description
from llm4seg_probe.data.layouts.other_names import IMAGES
from llm4seg_probe.data.layouts.plain import TABLES, by_stem, none_in
from llm4seg_probe.data.leftovers import unused
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.names import (
    IRREGULAR,
    as_utf8,
    is_irregular,
    is_utf8,
    refuse_other_than_file,
)
from llm4seg_probe.storage import atomically

if TYPE_CHECKING:
    from torch import Tensor

    from llm4seg_probe.training.stored_run import Run


def images_in(place: Path) -> dict[str, Path]:
    """Images by name: one file, the files of a folder or of its ``images/``, or a DICOM series.

    In natural order, masks beside them left alone. Raises DataError that names the place.
    """
    if not place.exists():
        refuse_other_than_file(place, DataError)
        raise DataError(f"no such file or folder: {place}")
    if is_irregular(place):
        raise DataError(f"{place}: {IRREGULAR}")
    if formats.is_image(place):
        return {place.resolve().name if place.is_dir() else formats.stem_of(place): place}
    if place.is_file():
        raise DataError(f"{place}: is no image of a known format ({', '.join(formats.SUFFIXES)})")
    folder = place / IMAGES if (place / IMAGES).is_dir() else place
    images = by_stem(folder)
    for path in images.values():
        if not is_utf8(path.name):
            raise DataError(
                f"{as_utf8(str(path))}: its name is not in UTF-8, so that no table could name it: "
                "rename it"
            )
    if not images:
        raise none_in(folder)
    return images


def left_over(place: Path, images: Mapping[str, Path]) -> Iterator[Finding]:
    """Findings on the files of a folder that are none of its images, each with the reason."""
    if formats.is_image(place):
        return
    folder = place / IMAGES if (place / IMAGES).is_dir() else place
    own = {*images.values(), folder / DESCRIPTION, *(folder / name for name in TABLES)}
    yield from unused(folder, folder, own, formats.is_image, "it has the name of another image")


def read_new(
    path: Path, place: Path, modality: str | None = None, otherwise: str | None = None
) -> RawImage:
    """An image on its own grid, with a mask of no classes.

    What it is (ct, mr or photo) is ``modality``; without, what ``dataset.json`` in the folder
    ``place`` or the file itself says, and ``otherwise`` where neither does. Raises DataError that
    names the file where nothing says it.
    """
    stated = str(read_description(place).get("modality", "")) if place.is_dir() else ""
    known = modality_of(modality or stated, path, str(path))
    pixels, spacing = formats.read_image(path, modality=known)
    if known == "unknown" and otherwise is not None:
        known = otherwise
    if known == "unknown":
        raise DataError(
            f"{path}: does not say whether it is ct, mr or photo: add --modality (in Python "
            f"modality=), or write it as 'modality' into {path.parent / DESCRIPTION}"
        )
    return RawImage(pixels, np.zeros((0, *pixels.shape[1:]), bool), spacing, known)


OVERLAYS, PROBABILITIES = "overlays", "probabilities"
"""Folders beside the masks, where they are asked for."""
SMALLEST_OVERLAY = 256
"""Pixels of an overlay's longer side; larger images keep their size."""


@dataclass(frozen=True)
class Prediction:
    """The files that were written for one image, and its pixels of each class."""

    image: Path
    masks: tuple[Path, ...]
    overlay: Path | None
    probabilities: Path | None
    pixels: dict[str, int]
    size: int
    """Pixels of the image."""


def predict_images(
    checkpoint: Path,
    images: Path,
    out: Path,
    *,
    modality: str | None = None,
    overlays: bool = False,
    probabilities: bool = False,
    device: str = "auto",
) -> tuple[Prediction, ...]:
    """Write a mask for an image, or for each of a folder, and return what was written.

    A run of a 2D network takes volumes slice by slice along their axial axis. ``modality`` is what
    the images are; by default what they say themselves. Raises DataError that names the file.
    """
    from llm4seg_probe.training.stored_run import load

    targets = targets_of(images_in(images), out)
    run = load(checkpoint, device=device)
    return tuple(
        write_predicted(run, one, targets[one.name], out, overlays=overlays)
        for one in predicted(run, images, modality=modality, probabilities=probabilities)
    )


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a run predicts of one image, in memory: the image with its masks (K, *grid)."""

    name: str
    image: Path
    raw: RawImage
    probabilities: np.ndarray | None


def predicted(
    run: Run, images: Path, *, modality: str | None = None, probabilities: bool = False
) -> Iterator[Predicted]:
    """Masks of an image, or of each of a folder, one at a time. See :func:`predict_images`."""
    from llm4seg_probe.training.compute import computing

    paths = images_in(images)
    for leftover in left_over(images, paths):
        if leftover.severity != "note":
            progress.say(leftover.sentence)
    images_found = progress.track(paths.items(), "Predicting", total=len(paths))
    for done, (name, path) in enumerate(images_found):
        try:
            raw = read_new(path, images, modality, run.config.data.modality)
        except DataError as error:
            raise DataError(
                f"{error}. {done} of {len(paths)} images are done; the others wait until this one "
                "is mended or taken out"
            ) from error
        with computing(run.config.compute):
            probable, masks = _predicted(run, raw, path, keep=probabilities)
        yield Predicted(name, path, replace(raw, mask=masks), probable)


def write_predicted(
    run: Run, found: Predicted, target: Path, out: Path, *, overlays: bool
) -> Prediction:
    """Write what was predicted of one image: its masks to ``target``, what is beside to ``out``."""
    masks = found.raw.mask
    return Prediction(
        image=found.image,
        masks=_write_masks(masks, run, found.image, target),
        overlay=_write_overlay(found.raw, out, found.name) if overlays else None,
        probabilities=_write_probable(found.probabilities, found.image, out, found.name),
        pixels=pixels_of(run, masks),
        size=masks[0].size,
    )


def pixels_of(run: Run, masks: np.ndarray) -> dict[str, int]:
    """Pixels of each class in masks (K, *grid)."""
    return {
        name: int(plane.sum()) for name, plane in zip(run.config.data.classes, masks, strict=True)
    }


def targets_of(images: dict[str, Path], out: Path) -> dict[str, Path]:
    """Where the mask of each image goes; raises DataError where that is an image itself."""
    targets = {name: out / (name + mask_files.suffix_for(path)) for name, path in images.items()}
    taken = {path.resolve() for path in images.values()}
    for target in targets.values():
        if target.resolve() in taken:
            raise DataError(
                f"{target}: is an image itself and would be replaced: choose another --out"
            )
    return targets


def _predicted(
    run: Run, raw: RawImage, path: Path, *, keep: bool
) -> tuple[np.ndarray | None, np.ndarray]:
    """Probabilities, if they are to be kept, and masks (K, *grid) on the image's own grid."""
    import torch

    from llm4seg_probe.models.heads import decided, probabilities, why_no_numbers

    axes, wanted = raw.image.ndim - 1, len(run.config.data.image_size)
    if axes < wanted:
        raise DataError(f"{path}: has {axes} axes, but run {run.name} was trained on volumes")
    probable, masks = [], []
    try:
        with torch.no_grad():
            for logits in _logits(run, raw) if axes == wanted else _by_slice(run, raw):
                why = why_no_numbers(logits, run.config)
                if why:
                    raise DataError(
                        f"run {run.name} gives no numbers ({why}) for this image: no mask is "
                        "written. Train it again with a lower training.optimiser.lr"
                    )
                masks.append(decided(logits, run.config)[0].cpu().numpy())
                if keep:
                    probable.append(probabilities(logits, run.config)[0].cpu().numpy())
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if axes == wanted:
        return probable[0] if keep else None, masks[0]
    return np.stack(probable, axis=1) if keep else None, np.stack(masks, axis=1)


def _by_slice(run: Run, raw: RawImage) -> Iterator[Tensor]:
    """Logits of each axial slice of a volume, from the feet up."""
    spacing = raw.spacing[1:] if raw.spacing else None
    for number in range(raw.image.shape[1]):
        plane = raw.mask[:, number]
        yield from _logits(run, RawImage(raw.image[:, number], plane, spacing, raw.modality))


def _logits(run: Run, raw: RawImage) -> Iterator[Tensor]:
    """Logits (1, channels, *grid) of one image that has as many axes as the run's."""
    from llm4seg_probe.training.inference import logits_of, on_grid, where_it_fits

    images = run.transform(raw)[None]
    grid = raw.image.shape[1:]
    logits = where_it_fits(logits_of(run.network, images, run.config).float()[0], grid)
    yield on_grid(logits, grid)[None]


def _write_masks(masks: np.ndarray, run: Run, image: Path, target: Path) -> tuple[Path, ...]:
    """One file with all classes, or one for each where classes may overlap."""
    foreground = 255 if target.suffix == ".png" else 1
    classes = run.config.data.classes
    if len(classes) == 1:
        mask_files.write_mask(_numbered(masks, (foreground,)), image, target)
        return (target,)
    if run.config.training.output == "softmax":
        mask_files.write_mask(_numbered(masks, range(1, len(classes) + 1)), image, target)
        return (target,)
    written = []
    for number, (name, plane) in enumerate(zip(classes, masks, strict=True)):
        place = target.parent / f"{number}-{re.sub(r'[^A-Za-z0-9]+', '-', name)}" / target.name
        mask_files.write_mask(_numbered(plane[None], (foreground,)), image, place)
        written.append(place)
    return tuple(written)


def _numbered(masks: np.ndarray, numbers: Iterable[int]) -> np.ndarray:
    """Masks (K, *grid) that do not overlap as one array of numbers (*grid), 0 outside of them."""
    labels = np.zeros(masks.shape[1:], np.uint16)
    for plane, number in zip(masks, numbers, strict=True):
        labels[plane] = number
    return labels


def _write_overlay(raw: RawImage, out: Path, name: str) -> Path:
    """A PNG of the image with the outline of each class; of a volume, its fullest axial slice."""
    target = out / OVERLAYS / f"{name}.png"
    picture = outlined(raw, max(SMALLEST_OVERLAY, *raw.image.shape[-2:]))
    with atomically(target) as partial:
        picture.save(partial)
    return target


def _write_probable(probable: np.ndarray | None, image: Path, out: Path, name: str) -> Path | None:
    if probable is None:
        return None
    suffix = ".nii.gz" if mask_files.has_place(image) else ".npy"
    target = out / PROBABILITIES / (name + suffix)
    mask_files.write_probabilities(probable, image, target)
    return target
