"""Opening a data set: one with a name, or any other by its folder or table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from llm4seg_probe.data import folders, layout, phantoms, spine
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.data.layouts import decathlon, nnunet, path_table
from llm4seg_probe.data.preparing import prepared
from llm4seg_probe.errors import DataError, unknown

NAMED: dict[str, Callable[[tuple[str, ...]], Collection]] = {
    spine.NAME: spine.open_spine,
    spine.VOLUMES_NAME: spine.open_volumes,
    **{name: partial(phantoms.open_phantoms, name) for name in phantoms.NAMES},
    **{name: partial(prepared.open_prepared, name) for name in prepared.NAMES},
}
"""Data sets with a name: what opens them, and fetches or draws them where they are not here."""


@dataclass(frozen=True)
class Layout:
    """A way in which folders are laid out."""

    recognised: Callable[[Path], bool]
    read: Callable[[Path, tuple[str, ...]], Collection]


LAYOUTS: dict[str, Layout] = {
    "documented": Layout(layout.is_layout, layout.read_layout),
    "decathlon": Layout(decathlon.is_decathlon, decathlon.read_decathlon),
    "nnunet": Layout(nnunet.is_nnunet, nnunet.read_nnunet),
    "plain": Layout(lambda folder: True, folders.read_folder),
}
"""Layouts that are read in place, in the order in which a folder is tried against them."""


def open_collection(name_or_folder: str, *, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """Open a data set that has a name, a folder in one of ``LAYOUTS``, or a CSV file of paths.

    ``classes`` name the channels of the masks; the one class ``foreground`` is all labels
    together. Images have as many channels as their files: ``data.channels`` has to say the same
    where these are neither 1 nor 3. Volumes are samples of three axes; for a 2D network a table
    with a column ``slice`` (``samples.csv`` or a CSV file of paths) names their slices. Raises
    DataError that names the folder or file, DownloadError.
    """
    opened = NAMED.get(name_or_folder)
    if opened is not None:
        return opened(classes)
    place = Path(name_or_folder).expanduser()
    if not place.exists():
        hint = "" if "/" in name_or_folder else f" {unknown('data set', name_or_folder, NAMED)}"
        raise DataError(f"no such folder: {place}.{hint}")
    if not place.is_dir():
        return _read_file(place, classes)
    chosen = next(one for one in LAYOUTS.values() if one.recognised(place))
    return chosen.read(place, classes)


def _read_file(path: Path, classes: tuple[str, ...]) -> Collection:
    if path.suffix.lower() != path_table.SUFFIX:
        raise DataError(
            f"{path}: is a file; give the folder that holds images/ and masks/, or a CSV file of "
            "paths"
        )
    return path_table.read_path_table(path, classes)
