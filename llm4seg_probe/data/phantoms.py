"""Generated images with a known truth, each kind asking one question that real images mix.

A phantom is a function of (kind, seed, index, size, dial) and of nothing else.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from filelock import FileLock
from PIL import Image

from llm4seg_probe import progress
from llm4seg_probe.data import phantom_kinds, phantom_oracles
from llm4seg_probe.data.collection import FOREGROUND, Collection, Sample
from llm4seg_probe.data.layouts.documented import read_layout, write_layout
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.randomness import address
from llm4seg_probe.storage import cache_folder

PREFIX = "phantoms-"
RECIPE = 1
"""Raised whenever the drawing changes, so that an older copy in a cache is not taken for it."""
COUNT, SIZE = 240, (96, 96)
"""Images of an embedded set, such as ``phantoms-context``."""
COUNT_3D, SIZE_3D = 60, (48, 48, 48)
"""Volumes of an embedded set, such as ``phantoms-context-3d``."""
_GREY, _STEP = 100.0, 12.0
"""Grey level of 0 and of one unit, on the scale of 0 to 255."""


@dataclass(frozen=True)
class Phantom:
    """One kind of phantom."""

    summary: str
    draw: Callable[[np.random.Generator, tuple[int, ...], float], tuple[np.ndarray, np.ndarray]]
    oracle: Callable[[np.ndarray, float], np.ndarray]
    oracle_iou: tuple[float, float]
    """Mean IoU that the oracle reaches at least: 2D at 96 pixels, 3D at 48."""
    dial: float = 0.0
    """The kind's own number, where it has one."""
    dial_meaning: str = ""
    dials: tuple[float, ...] = ()
    """Other values of the dial that have an embedded set of their own."""
    dial_to_nothing: bool = False
    """Whether a dial of 0 can be drawn: an image without anything of what its mask says."""


PHANTOMS: dict[str, Phantom] = {
    "texture": Phantom(
        "regions of finer grain: the answer lies within a few pixels",
        phantom_kinds.texture,
        phantom_oracles.texture,
        oracle_iou=(0.78, 0.58),
    ),
    "context": Phantom(
        "equal balls, foreground or not by a marker far away",
        phantom_kinds.context,
        phantom_oracles.context,
        oracle_iou=(0.98, 0.98),
    ),
    "shape": Phantom(
        "balls among boxes: only the outline tells",
        phantom_kinds.shape,
        phantom_oracles.shape,
        oracle_iou=(0.98, 0.98),
    ),
    "presence": Phantom(
        "balls among boxes in half of the images, boxes alone in the others",
        phantom_kinds.presence,
        phantom_oracles.shape,
        oracle_iou=(0.98, 0.98),
    ),
    "noise": Phantom(
        "one region in white noise",
        phantom_kinds.noise,
        phantom_oracles.noise,
        oracle_iou=(0.93, 0.75),
        dial=1.5,
        dial_meaning="contrast to noise",
        dials=(0.0, 0.5, 3.0, 8.0),
        dial_to_nothing=True,
    ),
    "size": Phantom(
        "small lesions",
        phantom_kinds.small,
        phantom_oracles.small,
        oracle_iou=(0.97, 0.94),
        dial=2.0,
        dial_meaning="radius in pixels",
    ),
}
DIALLED = {
    f"{PREFIX}{kind}-at-{dial:g}": (kind, dial)
    for kind, row in PHANTOMS.items()
    for dial in row.dials
}
"""Embedded sets at another dial, in 2D: ``phantoms-noise-at-0`` shows noise alone."""
NAMES = (*(PREFIX + kind + end for kind in PHANTOMS for end in ("", "-3d")), *DIALLED)
"""Embedded sets, drawn into the cache when one is first opened."""


def phantom(
    kind: str, index: int, *, size: tuple[int, ...] = SIZE, seed: int = 0, dial: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Image of that size (float, background about 0) and mask (bool) number ``index`` of a kind.

    Raises DataError for an unknown kind, a dial where there is none, and sides under 32 pixels.
    """
    if kind not in PHANTOMS:
        raise DataError(unknown("phantom", kind, PHANTOMS))
    chosen = PHANTOMS[kind]
    if dial is not None and not chosen.dial_meaning:
        having = ", ".join(name for name, entry in PHANTOMS.items() if entry.dial_meaning)
        raise DataError(f"phantom '{kind}' has no dial (it is {dial}); these have one: {having}")
    if dial is not None and (dial < 0 or (dial == 0 and not chosen.dial_to_nothing)):
        least = "at least 0" if chosen.dial_to_nothing else "above 0"
        raise DataError(f"the dial of phantom '{kind}' ({chosen.dial_meaning}) is {dial}: {least}")
    if len(size) not in (2, 3) or min(size) < 32:
        raise DataError(f"a phantom has 2 or 3 sides of at least 32 pixels, not {list(size)}")
    draw = np.random.default_rng(address(seed, "phantom", kind, index))
    return chosen.draw(draw, size, chosen.dial if dial is None else dial)


def size_of(text: str | None, three_dimensional: bool) -> tuple[tuple[int, ...], int]:
    """Pixels per side from a text such as ``96x96``, and how many images are usual at so many axes.

    Sides stand as in ``data.image_size``: height and width, before them depth in 3D. Raises
    DataError for anything else.
    """
    usual = (SIZE_3D, COUNT_3D) if three_dimensional else (SIZE, COUNT)
    if text is None:
        return usual
    parts = text.lower().replace("x", " ").replace(",", " ").split()
    if len(parts) not in (2, 3) or not all(part.isdecimal() for part in parts):
        raise DataError(f"'{text}' is no size: write 96x96, or 48x48x48 with the depth first")
    if three_dimensional and len(parts) == 2:
        raise DataError(f"'{text}' has two sides, but volumes have three: write 48x48x48")
    return tuple(map(int, parts)), COUNT_3D if len(parts) == 3 else COUNT


def write_phantoms(
    folder: Path,
    kind: str,
    count: int,
    *,
    size: tuple[int, ...] = SIZE,
    seed: int = 0,
    dial: float | None = None,
    name: str = "",
) -> Collection:
    """Write phantoms 0 to ``count`` - 1 as a folder in the documented layout, and open it.

    ``name`` is what the set calls itself, by default that of the embedded set of its kind.
    PNG in 2D, NIfTI in 3D, 0 to 255. The folder is whole or absent. Raises DataError where it is
    there already.
    """
    if folder.exists():
        raise DataError(f"{folder}: is there already; give another folder, or remove it")
    if count < 1:
        raise DataError(f"{count} phantoms: write at least one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        built = Path(scratch) / folder.name
        samples = tuple(
            _write(
                built, f"{kind}-{index:04d}", *phantom(kind, index, size=size, seed=seed, dial=dial)
            )
            for index in progress.track(range(count), f"Drawing {kind} phantoms")
        )
        name = name or PREFIX + kind + ("-3d" if len(size) == 3 else "")
        said = f"seed {seed}, dial {PHANTOMS[kind].dial if dial is None else dial}"
        note = f"Generated: {PHANTOMS[kind].summary} ({said})."
        labels = {FOREGROUND: 1}
        write_layout(
            built,
            Collection(name, samples, (FOREGROUND,), labels, "none needed", "generated", note),
        )
        built.rename(folder)
    return read_layout(folder, (FOREGROUND,))


def open_phantoms(name: str, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """An embedded set such as ``phantoms-context`` or ``phantoms-context-3d``, drawn once."""
    folder = folder_of(name)
    count, size = (COUNT_3D, SIZE_3D) if name.endswith("-3d") else (COUNT, SIZE)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{name}.lock"):
        if not folder.exists():
            dial = DIALLED[name][1] if name in DIALLED else None
            write_phantoms(folder, kind_of(name), count, size=size, dial=dial, name=name)
    return read_layout(folder, classes)


def kind_of(name: str) -> str:
    """The kind that an embedded set is of: ``context`` for ``phantoms-context-3d``."""
    if name in DIALLED:
        return DIALLED[name][0]
    return name.removeprefix(PREFIX).removesuffix("-3d")


def folder_of(name: str) -> Path:
    """Where an embedded set lies, or will lie."""
    return cache_folder() / "data" / f"{name}-{RECIPE}"


def _write(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> Sample:
    grey = np.clip(np.rint(_GREY + _STEP * image), 0, 255).astype(np.uint8)
    suffix = ".png" if image.ndim == 2 else ".nii.gz"
    for part, pixels in (("images", grey), ("masks", mask.astype(np.uint8))):
        path = folder / part / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if image.ndim == 2:
            Image.fromarray(pixels).save(path)
        else:
            _save_volume(path, pixels)
    return Sample(
        image=name,
        group=name,
        modality="photo" if image.ndim == 2 else "mr",
        image_file=folder / "images" / f"{name}{suffix}",
        mask_files=(folder / "masks" / f"{name}{suffix}",),
    )


def _save_volume(path: Path, pixels: np.ndarray) -> None:
    """Write (D, H, W) so that it is read back in this order: see ``formats.displayed``."""
    canonical = pixels.transpose(2, 1, 0)[::-1, ::-1]
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(canonical), np.eye(4)), path)
