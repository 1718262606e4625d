"""From a folder of results to its figures, its tables for a paper, and its page."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from llm4seg_probe.reporting.arrays import NAME, array_files, read_map_arrays
from llm4seg_probe.reporting.cases import refuse_unknown_cases
from llm4seg_probe.reporting.claims import claim_sections
from llm4seg_probe.reporting.drawing import FIGURES as FIGURES
from llm4seg_probe.reporting.drawing import draw_all
from llm4seg_probe.reporting.figures import activation, densities, gallery
from llm4seg_probe.reporting.methods import NAME as METHODS
from llm4seg_probe.reporting.methods import methods_text
from llm4seg_probe.reporting.page import write_page
from llm4seg_probe.reporting.results import ABOUT, read_results
from llm4seg_probe.reporting.saving import save_figure
from llm4seg_probe.reporting.summaries import told_apart
from llm4seg_probe.storage import atomically, write_text
from llm4seg_probe.tables import MAPS, RANK, SCHEMAS, read_table

_OF_PROBE = ("*.csv", "*.npz", ABOUT, "figures/*")


def write_report(folder: Path, out: Path | None = None, cases: Sequence[str] = ()) -> Path:
    """Draw the figures of a folder of results and write its page; returns the page's path.

    With ``out`` the tables are copied there and the page stands beside them. cases: images that
    the explorer shows beside those that it chooses itself. Raises ConfigError or TableError when
    what is there cannot be read; what is not there is reported as not run.
    """
    folder = Path(folder)
    results = read_results(folder)
    refuse_unknown_cases(results, cases)
    target = folder if out is None else Path(out)
    if target.resolve() != folder.resolve():
        _copy(folder, target)
    claims = claim_sections(results)
    figures = draw_all(results, claims, target)
    write_text(target / METHODS, methods_text(results))
    return write_page(results, claims, figures, target, cases)


def write_rank_figures(folder: Path) -> tuple[Path, ...]:
    """Draw the ``rank.csv`` of a folder; returns the paths of the figure's files."""
    table = folder / RANK.name
    figure = densities.figure(told_apart(read_table(table, RANK)))
    return tuple(save_figure(figure, folder / FIGURES, "rank-densities", table).values())


def write_map_figures(folder: Path) -> tuple[Path, ...]:
    """Draw the ``maps.csv`` and ``maps.npz`` of a folder; returns the paths of the files."""
    table, stored = folder / MAPS.name, folder / NAME
    maps = told_apart(read_table(table, MAPS))
    drawn: list[tuple[str, Figure, Path]] = [("activation-iou", activation.figure(maps), table)]
    arrays = read_map_arrays(stored)
    if arrays is not None:
        arrays = arrays.told_apart(dict(zip(maps["run"], maps["arm"], strict=True)))
        drawn.append(("gallery", gallery.figure(arrays, arrays.first_seed), stored))
    saved = [save_figure(figure, folder / FIGURES, name, source) for name, figure, source in drawn]
    return tuple(path for paths in saved for path in paths.values())


def _copy(folder: Path, target: Path) -> None:
    """The tables, arrays and probes of a folder, into another one."""
    names = [name for name in ("analysis.yaml", *SCHEMAS) if (folder / name).is_file()]
    files = [*(folder / name for name in names), *array_files(folder)]
    for about in folder.glob(f"*/{ABOUT}"):
        files += [path for pattern in _OF_PROBE for path in about.parent.glob(pattern)]
    for path in files:
        with atomically(target / path.relative_to(folder)) as partial:
            shutil.copyfile(path, partial)
