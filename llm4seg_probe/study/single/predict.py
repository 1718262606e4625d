"""Masks of new images by a finished run, written on the images' own grid and in their format.

Of one class, a mask is 0 and 255 in a picture, 0 and 1 in a volume. Of several classes that
exclude each other (softmax) it holds 1, 2, … in the order of ``data.classes``. Of several that may
overlap (sigmoid) each class has a folder of its own, ``0-NAME``, ``1-NAME``, ….
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from llm4seg_probe import progress
from llm4seg_probe.data import writing
from llm4seg_probe.data.collection import RawImage
from llm4seg_probe.data.contact_sheet import outlined
from llm4seg_probe.data.new_images import images_in, read_new
from llm4seg_probe.errors import DataError
from llm4seg_probe.storage import atomically

if TYPE_CHECKING:
    from torch import Tensor

    from llm4seg_probe.training.run import Run

OVERLAYS, PROBABILITIES = "overlays", "probabilities"
"""Folders beside the masks, where they are asked for."""
SMALLEST_OVERLAY = 256
"""Pixels of an overlay's longer side; larger images keep their size."""


@dataclass(frozen=True)
class Prediction:
    """What was written for one image, and how many pixels of each class were found."""

    image: Path
    masks: tuple[Path, ...]
    overlay: Path | None
    probabilities: Path | None
    pixels: dict[str, int]


def predict_images(
    checkpoint: Path,
    images: Path,
    out: Path,
    *,
    modality: str | None = None,
    overlays: bool = False,
    probabilities: bool = False,
) -> tuple[Prediction, ...]:
    """Write a mask for an image, or for each of a folder, and return what was written.

    A run of a 2D network takes volumes slice by slice along their axial axis. ``modality`` is what
    the images are; by default what they say themselves. Raises DataError that names the file.
    """
    from llm4seg_probe.training.compute import computing
    from llm4seg_probe.training.run import load

    found = images_in(images)
    targets = _targets(found, out)
    run = load(checkpoint)
    done = []
    with computing(run.config.compute):
        for name, path in progress.track(found.items(), "Predicting", total=len(found)):
            raw = read_new(path, images, modality, run.config.data.modality)
            probable, masks = _predicted(run, raw, path, keep=probabilities)
            seen = replace(raw, mask=masks)
            done.append(
                Prediction(
                    image=path,
                    masks=_write_masks(masks, run, path, targets[name]),
                    overlay=_write_overlay(seen, out, name) if overlays else None,
                    probabilities=_write_probable(probable, path, out, name),
                    pixels=dict(
                        zip(
                            run.config.data.classes,
                            (int(plane.sum()) for plane in masks),
                            strict=True,
                        )
                    ),
                )
            )
    return tuple(done)


def _targets(found: dict[str, Path], out: Path) -> dict[str, Path]:
    """Where the mask of each image goes; raises DataError where that is an image itself."""
    targets = {name: out / (name + writing.suffix_for(path)) for name, path in found.items()}
    taken = {path.resolve() for path in found.values()}
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

    from llm4seg_probe.models.output import decided, probabilities

    axes, wanted = raw.image.ndim - 1, len(run.config.data.image_size)
    if axes < wanted:
        raise DataError(f"{path}: has {axes} axes, but run {run.name} was trained on volumes")
    probable, masks = [], []
    try:
        with torch.no_grad():
            for logits in _logits(run, raw) if axes == wanted else _by_slice(run, raw):
                masks.append(decided(logits, run.config)[0].numpy())
                if keep:
                    probable.append(probabilities(logits, run.config)[0].numpy())
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
    from llm4seg_probe.training.inference import logits_of, on_grid

    images = run.transform(raw)[None]
    logits = logits_of(run.network, images, run.config).float().cpu()[0]
    yield on_grid(logits, raw.image.shape[1:])[None]


def _write_masks(masks: np.ndarray, run: Run, image: Path, target: Path) -> tuple[Path, ...]:
    """One file with all classes, or one for each where classes may overlap."""
    foreground = 255 if target.suffix == ".png" else 1
    classes = run.config.data.classes
    if len(classes) == 1:
        writing.write_mask(_numbered(masks, (foreground,)), image, target)
        return (target,)
    if run.config.training.output == "softmax":
        writing.write_mask(_numbered(masks, range(1, len(classes) + 1)), image, target)
        return (target,)
    written = []
    for number, (name, plane) in enumerate(zip(classes, masks, strict=True)):
        place = target.parent / f"{number}-{re.sub(r'[^A-Za-z0-9]+', '-', name)}" / target.name
        writing.write_mask(_numbered(plane[None], (foreground,)), image, place)
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
    suffix = ".nii.gz" if writing.has_place(image) else ".npy"
    target = out / PROBABILITIES / (name + suffix)
    writing.write_probabilities(probable, image, target)
    return target
