"""Bounds of what one file may make this program take: stated, and raised by the user alone.

``llm4seg-probe --bounds bytes=8e9,depth=200 …`` or the variable ``LLM4SEG_PROBE_BOUNDS`` raise
them; a file cannot.
"""

from __future__ import annotations

import errno
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm4seg_probe.errors import ConfigError, DataError, UserError, unknown

_FLOAT32 = 4


def pixels_fit(
    path: Path,
    shape: Sequence[int],
    item: int,
    *,
    held: int | None = None,
    compressed: bool = False,
    scaled: bool = False,
) -> int:
    """Bytes of the stored pixels. Raises DataError where they cannot be there, or take too much.

    ``held`` is what the file holds of them (None: not known), perhaps ``compressed``; ``item``
    the bytes of one value, ``scaled`` whether reading makes float64 of it. Memory counts the
    pixels as stored, one copy in display order, and what training sees of them in float32.
    """
    sides = [int(side) for side in shape]
    if not sides or min(sides) < 0 or max(sides) > 2**40:
        raise DataError(f"{path}: not readable (it announces the size {sides})")
    count = math.prod(sides)
    stored = count * item
    if held is not None:
        refuse_announced(path, held, stored, DataError, compressed=compressed)
    each = 8 if scaled else item
    taken = count * (2 * each + _FLOAT32 + 1)
    size = " x ".join(map(str, sides))
    what = f"{path}: its {size} values take {taken / 1e9:.1f} GB of memory"
    refuse_more("bytes", taken, what, DataError, size=path.stat().st_size if path.is_file() else 0)
    return stored


_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_LONGEST = 300  # characters of another library's reason that are worth reading


@contextmanager
def as_error(
    path: Path | str, error: type[UserError], what: str = "not readable", advice: str = ""
) -> Iterator[None]:
    """Run a block that reads a file with another library; its failures become ``error``.

    MemoryError and RecursionError too; our own errors pass as they are. ``what`` is said of the
    path, ``advice`` behind the reason. A full disk stays what it is.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as failure:
        if failure.errno in _OF_THE_DISK:  # that is about where it is written, not what is read
            raise
        if isinstance(failure, FileNotFoundError):
            raise error(f"no such file: {path}") from failure
        raise error(_said(path, what, reason(failure), advice)) from failure
    except RecursionError as deep:
        raise error(_said(path, what, "it is nested too deeply", advice)) from deep
    except MemoryError as full:
        why = "it takes more memory than there is; is it damaged?"
        raise error(_said(path, what, why, advice)) from full
    except Exception as failure:  # of whatever kind: the code that raises it is not ours
        raise error(_said(path, what, reason(failure), advice)) from failure


@contextmanager
def quietly() -> Iterator[None]:
    """Run a block without the warnings of a library, which reach the terminal in its own words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_POINTER = b"version https://git-lfs.github.com/spec/"


def _is_pointer(path: Path | str) -> bool:
    """Whether a file is one of Git LFS's, which stands for another that was not fetched."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_POINTER)) == _POINTER
    except (OSError, ValueError):
        return False


def _said(path: Path | str, what: str, why: str, advice: str) -> str:
    if _is_pointer(path):
        return (
            f"{path}: holds a pointer of Git LFS and not the file itself; git lfs pull fetches it"
        )
    colon = "" if what.startswith(("is ", "does ")) else ":"
    return f"{path}{colon} {what} ({why}){f'; {advice}' if advice else ''}"


def reason(failure: BaseException) -> str:
    """What an exception says, in one line of bounded length.

    >>> reason(ValueError("a\\n  b"))
    'a b'
    """
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    text = "".join(c if c.isprintable() else " " for c in str(failure)[: 4 * _LONGEST])
    text = " ".join(text.split()) or type(failure).__name__
    if isinstance(failure, LookupError | AssertionError):  # they say what, and not that it lacks
        kind = type(failure).__name__
        text = text if text == kind else f"{kind}: {text}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


VARIABLE = "LLM4SEG_PROBE_BOUNDS"
"""Environment variable with ``name=number`` separated by commas; worker processes see it too."""

BOUNDS: dict[str, float] = {
    # Memory that one file may take while it is opened. A file of more than bytes / RATIO is real
    # data rather than an announcement, and may take RATIO times its size instead.
    "bytes": 1.5e9,
    # Characters of one JSON, YAML or SVG file; 8 MB of the densest JSON take about half a GB.
    "text": 8e6,
    # Characters of one CSV table, which is far denser than JSON.
    "table": 256e6,
    "columns": 4096,
    # Brackets within brackets, maps within maps.
    "depth": 64,
    # Values of one YAML file, with aliases written out; a value takes about a kilobyte.
    "values": 20_000,
    # Files of one archive, and combinations of one analysis.
    "files": 200_000,
    "runs": 100_000,
    # Fields of a configuration. The largest published language models have 126 layers and 18,432
    # channels, published CNNs up to 1,024 channels and 62 million parameters.
    "threads": 1024,
    "layers": 512,
    "width": 32_768,
    "rank": 4096,
    "channels": 4096,
    "side": 16_384,
    # Pixels of what a network sees at once: 2048 x 2048, or 161 x 161 x 161.
    "pixels": 2**22,
    # Numbers that a configuration alone makes: a wide CNN, a layer with random weights.
    "parameters": 400e6,
    # Any number among the options of one of MONAI's transforms.
    "option": 10_000,
}
"""What each bound is unless it is raised."""

RATIO = 50
"""Times its own size that a large file may take in memory: compressed masks reach about 30."""

_HIGHEST_RATIO = 1100  # of deflate, which cannot shrink by more than 1:1032


def bound(name: str) -> float:
    """One bound, as the user raised it or as it stands. Raises ConfigError for a setting of none.

    >>> bound("depth")
    64
    """
    return _raised().get(name, BOUNDS[name])


@contextmanager
def raised(text: str) -> Iterator[None]:
    """Let a block, and processes started in it, work with other bounds, such as ``bytes=8e9``.

    Raises ConfigError for a bound that there is not, or a value that is no positive number.
    """
    before = os.environ.get(VARIABLE)
    _parsed(text)
    os.environ[VARIABLE] = ",".join(filter(None, (before, text)))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def refuse_more(
    name: str, asked: float, what: str, error: type[UserError], *, size: int = 0
) -> None:
    """Raise ``error`` where something asks for more than a bound; ``what`` begins the sentence.

    ``size`` is that of the file, where a larger file may take more.
    """
    most = max(bound(name), RATIO * size if name == "bytes" else 0)
    if not asked <= most:
        raise error(
            f"{what}, and at most {_shown(most, name)} is allowed; if you trust it, raise the "
            f"bound with `llm4seg-probe --bounds {name}={_rounded(asked)} …`"
        )


def refuse_announced(
    path: Path, held: int, announced: int, error: type[UserError], *, compressed: bool = False
) -> None:
    """Raise ``error`` where a file announces more bytes than what it holds can become."""
    if announced > held * (_HIGHEST_RATIO if compressed else 1):
        raise error(
            f"{path}: announces {_shown(announced, 'bytes')} of content, but holds "
            f"{_shown(held, 'bytes')}: it is cut short or damaged"
        )


def refuse_deep_values(values: Any, what: str, error: type[UserError]) -> None:
    """Raise ``error`` where plain values are nested more deeply than the bound."""
    depth, level = 0, [values]
    while level and depth <= bound("depth"):
        inner = []
        for value in level:
            if isinstance(value, dict):
                inner += list(value.values())
            elif isinstance(value, list | tuple):
                inner += list(value)
        level = [value for value in inner if isinstance(value, dict | list | tuple)]
        depth += 1
    refuse_more("depth", depth, f"{what}: is nested {depth} levels deep", error)


def at_most(name: str, value: Any, what: str = "") -> Any:
    """The value of a configuration's field, where neither it nor its entries exceed a bound.

    ``what`` says what it is of the field, where it is not the field itself.

    Raises ValueError, as validators of pydantic do.
    """
    most = bound(name)
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, int | float) and not abs(number) <= most:
            raise ValueError(
                f"{what}more than {most:,.0f}; raise the bound with --bounds {name}=NUMBER if this "
                "is meant"
            )
    return value


def _raised() -> dict[str, float]:
    return _parsed(os.environ.get(VARIABLE, ""))


def _parsed(text: str) -> dict[str, float]:
    found = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        if name not in BOUNDS:
            raise ConfigError(f"--bounds: {unknown('bound', name, BOUNDS)}")
        try:
            found[name] = float(value)
        except ValueError as error:
            raise ConfigError(f"--bounds: '{part}' is no bound: write {name}=NUMBER") from error
        if not found[name] > 0:
            raise ConfigError(f"--bounds: '{part}' is no bound: give a number above 0")
    return found


def _shown(number: float, name: str) -> str:
    if name != "bytes":
        return f"{number:,.0f}"
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= factor:
            return f"{number / factor:,.1f} {unit}"
    return f"{number:.0f} bytes"


def _rounded(asked: float) -> str:
    return f"{asked * 1.05:.2g}" if asked >= 1e5 else f"{asked:.0f}"
