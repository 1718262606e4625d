"""One image of a delivery and its mask, checked and put where the documented layout has them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Sample
from llm4seg_probe.data.preparing.delivery import Found
from llm4seg_probe.data.preparing.sets import PaperSet
from llm4seg_probe.errors import DataError

SMALLEST = 64
"""Pixels that the longest side may be asked to have at least."""
_NIFTI = (".nii", ".nii.gz")


class Placing:
    """Where images go, and how many of them were stored smaller than they came."""

    def __init__(
        self, chosen: PaperSet, folder: Path, scratch: Path, longest_side: int | None
    ) -> None:
        self.folder = folder
        self._chosen = chosen
        self._scratch = scratch
        self._longest = longest_side
        self._shrunk = 0

    @property
    def note(self) -> str:
        """What to say about images that were stored smaller; empty where none was."""
        if not self._shrunk:
            return ""
        return (
            f"Stored smaller, at {self._longest} pixels on the longer side, are {self._shrunk} of "
            "the images with their masks: scores are on that grid."
        )

    def place(self, one: Found, pixels: np.ndarray) -> Sample:
        """Write image (its pixels are given) and mask; raises DataError that names the file."""
        if formats.suffix_of(one.image) in formats.PICTURES:
            image, mask = self._place_picture(one, pixels)
        else:
            image, mask = self._place_volume(one, pixels)
        return Sample(
            image=one.name,
            group=one.group or one.name,
            modality=self._chosen.modality,
            image_file=image,
            mask_files=(mask,),
            side=one.side,
        )

    def _place_picture(self, one: Found, pixels: np.ndarray) -> tuple[Path, Path]:
        mask = self._target("masks", f"{one.name}.png")
        merged = Image.fromarray(_merged(one, pixels.shape[1:]).astype(np.uint8) * 255)
        height, width = pixels.shape[1:]
        if self._longest is None or max(height, width) <= self._longest:
            merged.save(mask)
            image = self._target("images", f"{one.name}{formats.suffix_of(one.image)}")
            self._take(one.image, image)
            return image, mask
        scale = self._longest / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        # Both are averaged over what becomes one pixel; a mask is where the most is foreground.
        smaller = np.asarray(merged.resize(size, Image.Resampling.BOX)) > 127
        Image.fromarray(smaller.astype(np.uint8) * 255).save(mask)
        image = self._target("images", f"{one.name}.png")
        channels = [
            Image.fromarray(channel).resize(size, Image.Resampling.BOX) for channel in pixels
        ]
        shown = channels[0] if len(channels) == 1 else Image.merge("RGB", channels)
        shown.save(image)
        self._shrunk += 1
        return image, mask

    def _place_volume(self, one: Found, pixels: np.ndarray) -> tuple[Path, Path]:
        _check_volume(one, self._chosen, pixels.shape[1:])
        image = self._target("images", f"{one.name}{formats.suffix_of(one.image)}")
        mask = self._target("masks", f"{one.name}{formats.suffix_of(one.masks[0])}")
        self._take(one.image, image)
        self._take(one.masks[0], mask)
        return image, mask

    def _target(self, part: str, name: str) -> Path:
        path = self.folder / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise DataError(f"two images are called {name}; which one counts?")
        return path

    def _take(self, path: Path, target: Path) -> None:
        """Move what was unpacked here, copy what is the user's."""
        if path.is_relative_to(self._scratch):
            os.replace(path, target)
        else:
            shutil.copyfile(path, target)


def _merged(one: Found, shape: tuple[int, ...]) -> np.ndarray:
    """All masks of one picture as one, bool."""
    merged = np.zeros(shape, bool)
    for path in one.masks:
        mask = formats.read_binary(path)
        _check_size(path, mask.shape, one.image, shape)
        merged |= mask
    return merged


def _check_volume(one: Found, chosen: PaperSet, shape: tuple[int, ...]) -> None:
    path = one.masks[0]
    labels = formats.read_labels(path)
    _check_size(path, labels.shape, one.image, shape)
    highest = max(chosen.labels.values())
    if labels.max() > highest or labels.min() < 0:
        raise DataError(
            f"{path}: its labels go from {labels.min()} to {labels.max()}; expected 0 to {highest}"
        )
    if formats.suffix_of(one.image) not in _NIFTI or formats.suffix_of(path) not in _NIFTI:
        return
    axes = ["".join(nibabel.aff2axcodes(nibabel.load(p).affine)) for p in (one.image, path)]
    if axes[0] != axes[1]:
        raise DataError(f"{path}: its axes run {axes[1]}, those of {one.image.name} {axes[0]}")


def _check_size(path: Path, found: tuple[int, ...], image: Path, expected: tuple[int, ...]) -> None:
    if found != expected:
        sizes = [" x ".join(map(str, size)) for size in (found, expected)]
        raise DataError(f"{path}: the mask is {sizes[0]}, its image {image.name} is {sizes[1]}")
