"""MetaImages as their header states them: place, unit, spacing, and the files of their pixels."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from llm4seg_probe.data import stated
from llm4seg_probe.data.nrrd_volume import existing, numbered_names
from llm4seg_probe.reading.metaimage import MetaImage, read_header, read_metaimage_file

_HEAD = 65536
_FILES = "elementdatafile"
_DIRECTIONS = ("transformmatrix", "rotation", "orientation")
"""Fields that say how the axes run; the identity that is taken without them is stated nowhere."""
_NO_UNIT = ("", "?", "unknown", "none")


def pixel_files(path: Path) -> tuple[Path, ...]:
    """The files that a header points to for its pixels, wherever they lie; those that exist.

    They are part of what an image is made of; lists, patterns and files of another folder are
    refused when the image is read.
    """
    name, behind = _data_file(path)
    words = name.split()
    if not words or words[0].upper() == "LOCAL":
        return ()
    if words[0].upper() == "LIST":
        names = [line for line in behind if line]
    elif "%" in words[0] and len(words) >= 3:
        names = numbered_names(words)
    else:
        names = [name]
    return tuple(file for file in existing(path.parent, names) if file != path)


def _data_file(path: Path) -> tuple[str, list[str]]:
    """What the header's last field says, and the lines behind it where they are a list."""
    with path.open("rb") as stream:
        lines = stream.read(_HEAD).split(b"\n")
    for number, line in enumerate(lines):
        key, equals, value = line.partition(b"=")
        if not equals or key.strip().decode("ascii", "replace").lower() != _FILES:
            continue
        name = value.strip().decode("utf-8", "replace")
        rest = lines[number + 1 :] if name.upper().startswith("LIST") else []
        return name, [text.strip().decode("utf-8", "replace") for text in rest]
    return "", []


def read_metaimage(path: Path) -> nibabel.Nifti1Image:
    """A MetaImage with its place in space in millimetres, channels last.

    The unit of its header is applied, and its spacing unknown where it states none. Raises
    DataError, or ValueError with the reason, for one that cannot be read.
    """
    image = read_metaimage_file(path)
    fields = {name.lower(): value for name, value in read_header(path)[0].items()}
    pixels, affine = _in_space(image)
    remarks: list[str] = []
    unit = fields.get("distanceunits", "")
    factor = 1.0
    if unit.lower() not in _NO_UNIT:
        factor = stated.in_mm(unit)
        if factor != 1:
            remarks.append(f"its lengths are in {unit}; they are read as millimetres")
    lengths = [float(mm) for mm in np.linalg.norm(affine[:3, :3], axis=0)]
    affine = np.diag([factor, factor, factor, 1.0]) @ affine
    spacing: tuple[float, ...] | None = tuple(factor * mm for mm in lengths)
    written = fields.get("elementspacing", fields.get("elementsize", ""))
    sizes = [float(number) for number in written.split()[:3]]
    if not sizes or not stated.usable(sizes):
        what = f"its spacing is {stated.said(sizes)}" if sizes else "it states no spacing"
        remarks.append(f"{what}: it is not known")
        spacing = None
    placed = any(name in fields for name in _DIRECTIONS)
    return stated.volume(pixels, affine, spacing=spacing, placed=placed, remarks=remarks)


def _in_space(image: MetaImage) -> tuple[np.ndarray, np.ndarray]:
    """Pixels with the first axis first and channels last, and where they lie."""
    # The file's reader gives the last axis first, and the components of a pixel behind all axes.
    pixels, axes = image.pixels, image.axes
    pixels = pixels.transpose(*range(axes - 1, -1, -1), *range(axes, pixels.ndim))
    if axes == 2:
        pixels = pixels[:, :, None]
    if axes == 4 and image.components > 1:
        raise ValueError("it has 4 axes and several components per pixel")
    space = min(axes, 3)
    affine = np.eye(4)
    affine[:space, :space] = image.direction[:space, :space] * np.array(image.spacing[:space])
    affine[:space, 3] = image.origin[:space]
    # ITK's axes grow towards the left and the back, NIfTI's towards the right and the front.
    return pixels, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
