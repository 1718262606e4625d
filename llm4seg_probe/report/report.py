"""From a folder of results to its figures, its tables for a paper, and its page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.arrays import array_files
from llm4seg_probe.pseudonyms import Pseudonyms
from llm4seg_probe.reading.arrays import read_npz
from llm4seg_probe.reading.bounds import as_error
from llm4seg_probe.reading.names import is_own, own_files
from llm4seg_probe.reading.text import read_csv
from llm4seg_probe.report.claims import claim_sections
from llm4seg_probe.report.explorer import refuse_unknown_cases
from llm4seg_probe.report.left_out import say_left_out
from llm4seg_probe.report.methods import NAME as METHODS
from llm4seg_probe.report.methods import methods_text
from llm4seg_probe.report.page import write_page
from llm4seg_probe.report.page_content import FIGURES as FIGURES
from llm4seg_probe.report.page_content import draw_all
from llm4seg_probe.report.results import ABOUT, read_results
from llm4seg_probe.storage import atomically, write_text
from llm4seg_probe.tables import PAIRS, write_table

KEY = "pseudonyms-key.csv"
"""The names and their numbers, in the folder of the results: not to be shared."""
_PATIENTS, _PICTURES = ("group",), ("image", "donor")
_ARRAYS = ("image_names",)


def pseudonyms(folder: Path) -> Pseudonyms:
    """A number for each patient and image in a folder's tables: ``patient-01``, ``image-001``."""
    patients: set[str] = set()
    pictures: set[str] = set()
    for path in sorted(folder.rglob("*.csv")):
        table = _table(path)
        for columns, names in ((_PATIENTS, patients), (_PICTURES[:1], pictures)):
            for column in columns:
                if column in table:
                    names |= set(table[column].unique()) - {""}
    for path in sorted(folder.rglob("*.npz")):
        for array in read_npz(path, TableError, _ARRAYS).values():
            pictures |= set(map(str, array.ravel().tolist()))
    return Pseudonyms.of(patients, pictures)


def rewrite(folder: Path, names: Pseudonyms) -> None:
    """Replace the names in the tables, arrays and texts of a folder; figures are taken away."""
    for path in sorted(folder.rglob("*.csv")):
        table = _table(path)
        for column in table.columns:
            if column in (*_PATIENTS, *_PICTURES):
                table[column] = table[column].map(names.name)
            else:
                table[column] = table[column].map(names.within)
        with atomically(path) as partial:
            table.to_csv(partial, index=False)
    for path in sorted(folder.rglob("*.npz")):
        _rewrite_arrays(path, names)
    for path in (*folder.rglob("figures/*"), *folder.rglob("tables/*")):
        if path.is_file():
            path.unlink()


def _table(path: Path) -> pd.DataFrame:
    return read_csv(path, TableError, dtype=str, keep_default_na=False)


def _rewrite_arrays(path: Path, names: Pseudonyms) -> None:
    arrays = read_npz(path, TableError)
    for name in _ARRAYS:
        if name in arrays:
            arrays[name] = np.array([names.name(text) for text in arrays[name].tolist()])
    with atomically(path) as partial:
        np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]


_OF_PROBE = ("*.csv", "*.npz", ABOUT, "figures/*")


def write_pseudonymous_report(
    folder: Path, out: Path | None, cases: Sequence[str] = (), *, one_file: bool = False
) -> Path:
    """As :func:`write_report` in another folder, with numbers for the names of patients and images.

    Which name is which number is written beside the results. Raises ConfigError without another
    folder: the results themselves keep their names.
    """
    folder = Path(folder)
    if out is None or Path(out).resolve() == folder.resolve():
        raise ConfigError(
            "--pseudonyms writes a copy to be shared: name another folder for it (--out)"
        )
    with as_error(folder, TableError, "holds results that do not fit each other"):
        left_out = read_results(folder).left_out
        target = Path(out)
        _copy(folder, target)
        names = pseudonyms(target)
        rewrite(target, names)
    names.write_key(folder / KEY)
    shown = tuple(map(names.name, cases))
    say_left_out(folder, left_out)
    with as_error(target, TableError, "holds results that do not fit each other"):
        return _write_report(target, None, shown, one_file=one_file, left_out=left_out)


def write_report(
    folder: Path, out: Path | None = None, cases: Sequence[str] = (), *, one_file: bool = False
) -> Path:
    """Draw the figures of a folder of results and write its page; returns the page's path.

    Parameters
    ----------
    folder
        Results as a sweep leaves them. A table that is not there is reported as not run; one that
        is there and cannot be used, a link or a folder, is named on the terminal and on the page.
    out
        Where to, if not into the folder itself; the tables are copied there.
    cases
        Images that the explorer shows beside those that it chooses itself.
    one_file
        Write ``index.html`` alone, with everything in it, and nothing beside it.

    Raises
    ------
    ConfigError, TableError
        Where what is there cannot be read.
    """
    folder = Path(folder)
    with as_error(folder, TableError, "holds results that do not fit each other"):
        return _write_report(folder, out, cases, one_file=one_file)


def _write_report(
    folder: Path,
    out: Path | None,
    cases: Sequence[str],
    *,
    one_file: bool,
    left_out: Sequence[str] = (),
) -> Path:
    """left_out: what was said already of the results that these are a copy of."""
    results = read_results(folder)
    new = [sentence for sentence in results.left_out if sentence not in left_out]
    say_left_out(folder, new)
    results = replace(results, left_out=(*left_out, *new))
    refuse_unknown_cases(results, cases)
    target = folder if out is None else Path(out)
    claims = claim_sections(results)
    if one_file:
        with TemporaryDirectory() as scratch:
            figures = draw_all(results, claims, Path(scratch))
            return write_page(results, claims, figures, target, cases, one_file=True)
    if target.resolve() != folder.resolve():
        _copy(folder, target)
    figures = draw_all(results, claims, target)
    write_text(target / METHODS, methods_text(results))
    if len(results.pairs) and not (target / PAIRS.name).exists():
        write_table(results.pairs, target / PAIRS.name, PAIRS)
    return write_page(results, claims, figures, target, cases)


def _copy(folder: Path, target: Path) -> None:
    """The tables, arrays and probes of a folder, into another one."""
    names = ("analysis.yaml", *registry.schemas())
    own = [folder / name for name in names if is_own(folder / name, folder)]
    files = [*own, *array_files(folder)]
    for about in own_files(folder, f"*/{ABOUT}"):
        files += [path for pattern in _OF_PROBE for path in own_files(about.parent, pattern)]
    for path in files:
        with atomically(target / path.relative_to(folder)) as partial:
            shutil.copyfile(path, partial)
