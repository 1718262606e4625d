"""Places of the voxels of two files in space, compared as they are displayed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from nibabel.affines import apply_affine, voxel_sizes
from nibabel.orientations import aff2axcodes, inv_ornt_aff, io_orientation

from llm4seg_probe.data import (
    dicom_series,
    formats,
    stated,
)
from llm4seg_probe.data.collection import Sample
from llm4seg_probe.data.findings import Finding

_APART = 0.05
"""Share of the smallest voxel side by which corners may lie apart."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a file's voxels lie; ``stated`` is whether the file says so."""

    affine: np.ndarray | None
    shape: tuple[int, ...]
    stated: bool
    remarks: tuple[str, ...]

    @property
    def axes(self) -> str:
        """Directions of the file's axes, such as ``RAS``; empty where it states none."""
        if self.affine is None or not self.stated:
            return ""
        return "".join(aff2axcodes(self.affine))

    def on_a_plain_grid(self) -> Place:
        """The same voxels along axes that begin at 0."""
        assert self.affine is not None
        return replace(self, affine=np.diag([*voxel_sizes(self.affine), 1.0]))

    def corners(self) -> np.ndarray:
        """Places (8, 3) of the corner voxels in the order of the display, in millimetres."""
        assert self.affine is not None
        shape = (*self.shape, 1, 1)[:3]
        turn = io_orientation(self.affine)
        canonical = self.affine @ inv_ornt_aff(turn, shape)
        lengths = np.zeros(3)
        lengths[turn[:, 0].astype(int)] = shape
        ends = itertools.product(*((0.0, length - 1) for length in lengths))
        return np.asarray(apply_affine(canonical, np.array(list(ends))))


def place_of(path: Path) -> Place:
    """What a readable file states of its place; pictures and NumPy state none."""
    suffix = formats.suffix_of(path)
    nowhere = Place(None, (), False, ())
    if path.is_file():
        if suffix in formats.PICTURES or suffix == ".npy" or suffix is None:
            return nowhere
        if suffix in dicom_series.SUFFIXES and not dicom_series.has_place(path):
            return Place(None, (), False, dicom_series.remarks_in(path))
    volume = formats.opened(path)
    return Place(
        np.asarray(volume.affine),
        tuple(volume.shape[:3]),
        stated.is_placed(volume),
        stated.remarks_of(volume),
    )


def compared(sample: Sample, path: Path, image: Place, other: Place) -> Iterator[Finding]:
    """Findings on a mask, or a further channel, that does not lie where its image lies."""
    names = (sample.image,)
    mask = path in sample.mask_files
    what_it_is = "its axes run" if mask else "this channel's axes run"
    if image.stated != other.stated:
        if _shown_as_stored(sample, mask):
            return
        one, none = ("image", "mask" if mask else "channel") if image.stated else (
            "mask" if mask else "channel", "image")  # fmt: skip
        what = f"the {one} states its place in space, the {none} states none"
        advice = (
            "A guess: they are matched by the order in which their pixels are stored, and turned "
            "alike: look at the contact sheet, or copy the geometry of the one into the header of "
            "the other"
        )
        yield Finding("warning", "orientation", names, what, advice)
        return
    if image.affine is None or other.affine is None:
        return
    if len(image.shape) != len(other.shape) or image.shape != other.shape:
        here, there = (sorted(one.shape) for one in (image, other))
        if here != there:
            return  # of another size, which is an error of its own
    if not image.stated and aff2axcodes(image.affine) != aff2axcodes(other.affine):
        # What formats take where nothing is stated differs; only the voxels' sizes are the files'.
        image, other = image.on_a_plain_grid(), other.on_a_plain_grid()
        assert image.affine is not None
    apart = float(np.abs(image.corners() - other.corners()).max())
    if apart <= _APART * float(voxel_sizes(image.affine).min()):
        return
    if image.axes != other.axes:
        what = f"{path}: {what_it_is} {other.axes}, those of its image {image.axes}"
        advice = "One of the headers is wrong, or the mask would be turned against its image"
        yield Finding("error", "orientation", names, what, advice)
        return
    what = f"{path}: lies elsewhere in space than its image (up to {apart:.3g} mm)"
    advice = "Pixels are matched by their order: look at the contact sheet"
    if not mask:
        advice = "Channels are stacked as they are: resample them onto one grid first"
    yield Finding("warning", "orientation", names, what, advice)


def _shown_as_stored(sample: Sample, mask: bool) -> bool:
    """A picture drawn on one DICOM file has the pixels of that file, which is turned with it."""
    single = (
        sample.image_file.is_file()
        and formats.suffix_of(sample.image_file) in dicom_series.SUFFIXES
    )
    drawn = {formats.suffix_of(path) for path in sample.mask_files} <= {*formats.PICTURES, ".npy"}
    return mask and single and drawn


def affine_of(path: Path) -> np.ndarray | None:
    """Voxel to millimetres (4, 4) of a volume that can be read; None for formats without."""
    return place_of(path).affine


def orientation_of(path: Path) -> str:
    """Directions of a volume file's axes, such as ``RAS``; empty where the file has none."""
    return place_of(path).axes
