"""Opening a data set: an embedded one by its name, any other by its folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from llm4seg_probe.data import folders, layout, phantoms, spine
from llm4seg_probe.data.collection import FOREGROUND, Collection
from llm4seg_probe.errors import DataError, unknown

EMBEDDED: dict[str, Callable[[tuple[str, ...]], Collection]] = {
    spine.NAME: spine.open_spine,
    spine.VOLUMES_NAME: spine.open_volumes,
    **{name: partial(phantoms.open_phantoms, name) for name in phantoms.NAMES},
}
"""Data sets with a name: what opens them, and fetches or draws them where they are not here."""


def open_collection(name_or_folder: str, *, classes: tuple[str, ...] = (FOREGROUND,)) -> Collection:
    """Open an embedded data set or a folder.

    A folder is in the documented layout (``data/layout.py``), or holds ``images/`` and
    ``masks/``. ``classes`` name the channels of the masks; the one class ``foreground`` is all
    labels together. Raises DataError that names the folder or file, DownloadError.
    """
    opened = EMBEDDED.get(name_or_folder)
    if opened is not None:
        return opened(classes)
    folder = Path(name_or_folder).expanduser()
    if not folder.exists():
        hint = "" if "/" in name_or_folder else f" {unknown('data set', name_or_folder, EMBEDDED)}"
        raise DataError(f"no such folder: {folder}.{hint}")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; give the folder that holds images/ and masks/")
    if layout.is_layout(folder):
        return layout.read_layout(folder, classes)
    return folders.read_folder(folder, classes)
