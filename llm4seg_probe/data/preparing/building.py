"""From what a page delivers to the documented layout: whole or absent, whatever happens."""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from llm4seg_probe import progress
from llm4seg_probe.data import formats
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.layout import read_layout, write_layout
from llm4seg_probe.data.preparing import prepared
from llm4seg_probe.data.preparing.copies import same_content
from llm4seg_probe.data.preparing.delivery import Delivery, Found
from llm4seg_probe.data.preparing.placing import SMALLEST, Placing
from llm4seg_probe.data.preparing.sets import SETS, PaperSet
from llm4seg_probe.data.preparing.unpacking import is_archive, unpack
from llm4seg_probe.errors import DataError, unknown
from llm4seg_probe.storage import cache_folder


def prepare(
    name: str,
    source: Path,
    out: Path | None = None,
    *,
    include: tuple[str, ...] = (),
    longest_side: int | None = None,
) -> tuple[Collection, Path]:
    """Write a data set of the paper as a folder in the documented layout; returns it, and where.

    ``source`` is the archive of its page, or the folder unpacked from it. ``out`` None: the cache,
    from where it is opened by its name. ``include`` adds images that are left out otherwise.
    Pictures with more pixels than ``longest_side`` on a side are stored smaller, with their masks.
    Raises DataError: an unknown name, a target that is there already, a source that is something
    else or unsafe, an image without mask or with one of another size, an unreadable file.
    """
    chosen = _chosen(name, include, longest_side)
    target = prepared.folder_of(name) if out is None else out.expanduser().resolve()
    with _lock(name), _scratch(target) as scratch:
        if target.exists():
            raise DataError(f"{target}: is there already; remove it to prepare {name} anew")
        delivery = _delivered(source, chosen, scratch / "unpacked")
        built = scratch / "built"
        find = (chosen.find, *(chosen.extras[extra] for extra in include))
        found = [one for part in find for one in part(delivery)]
        if not found:
            raise delivery.refusal()
        _build(name, chosen, found, Placing(chosen, built, scratch, longest_side))
        built.rename(target)
    return read_layout(target, tuple(chosen.labels)), target


def _chosen(name: str, include: tuple[str, ...], longest_side: int | None) -> PaperSet:
    if name not in SETS:
        raise DataError(unknown("data set", name, SETS))
    chosen = SETS[name]
    for extra in include:
        if extra not in chosen.extras:
            valid = unknown("images to include", extra, chosen.extras)
            raise DataError(valid if chosen.extras else f"{name} has nothing more to include")
    if longest_side is not None and chosen.modality != "photo":
        raise DataError(f"{name} is made of volumes; a longest side is for pictures")
    if longest_side is not None and longest_side < SMALLEST:
        raise DataError(f"the longest side is {longest_side}: give at least {SMALLEST} pixels")
    return chosen


def _build(name: str, chosen: PaperSet, found: list[Found], placing: Placing) -> None:
    samples = []
    contents: dict[str, str] = {}
    for one in progress.track(found, f"Preparing {name}"):
        pixels = np.ascontiguousarray(formats.read_pixels(one.image))
        content = hashlib.sha256(f"{pixels.dtype}{pixels.shape}".encode())
        content.update(pixels.data)
        contents[one.name] = content.hexdigest()
        samples.append(placing.place(one, pixels))
    together, copies = same_content(samples, contents)
    samples = [replace(sample, together=together[sample.group]) for sample in samples]
    said = (
        f"{len(samples)} images with masks; {chosen.published} by its page.",
        _copies(copies),
        placing.note,
        chosen.note,
    )
    collection = Collection(
        name,
        tuple(samples),
        tuple(chosen.labels),
        chosen.labels,
        chosen.licence,
        chosen.page,
        " ".join(filter(None, said)),
    )
    write_layout(placing.folder, collection)


def _copies(copies: tuple[int, int]) -> str:
    if not copies[1]:
        return "No two images have equal pixels."
    return (
        f"{copies[0]} images are copies of one another, pixel by pixel, in {copies[1]} "
        f"cluster{'s' if copies[1] > 1 else ''} that no split by group parts."
    )


def _delivered(source: Path, chosen: PaperSet, unpacked: Path) -> Delivery:
    source = source.expanduser()
    if not source.exists():
        raise DataError(f"{source}: no such file or folder; expected {chosen.expected}")
    unpacked.mkdir()
    if source.is_file():
        unpack(source, unpacked)
        return Delivery(source, chosen.expected, (unpacked,))
    inside = [
        path
        for path in sorted(source.iterdir())
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in chosen.archives)
        and is_archive(path)
        and not (source / path.name.split(".")[0]).is_dir()
    ]
    for archive in inside:
        unpack(archive, unpacked / archive.name.split(".")[0])
    return Delivery(source, chosen.expected, (source, unpacked) if inside else (source,))


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """One preparation of a set at a time; another process waits, and then finds it done."""
    folder = cache_folder() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f".{name}.lock"):
        yield


@contextmanager
def _scratch(target: Path) -> Iterator[Path]:
    """Folder beside the target that is gone afterwards; leftovers of killed ones go first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.preparing-"
    for left in target.parent.glob(f"{prefix}*"):
        progress.say(f"Removing what an interrupted preparation left: {left}")
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as name:
        yield Path(name)
