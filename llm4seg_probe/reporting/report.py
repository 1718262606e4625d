"""From a folder of results to its figures and its page."""

from __future__ import annotations

import shutil
from pathlib import Path

from matplotlib.figure import Figure

from llm4seg_probe.errors import TableError
from llm4seg_probe.reporting.figures import activation, densities, gallery
from llm4seg_probe.reporting.page import write_page
from llm4seg_probe.reporting.results import Results, read_map_arrays, read_results
from llm4seg_probe.reporting.saving import save_figure
from llm4seg_probe.reporting.sections import SECTIONS
from llm4seg_probe.reporting.summaries import told_apart
from llm4seg_probe.storage import atomically
from llm4seg_probe.tables import MAPS, RANK, SCHEMAS, read_table

FIGURES = "figures"


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Draw the figures of a folder of results and write its page; returns the page's path.

    With ``out`` the tables are copied there and the page stands beside them. Raises ConfigError
    or TableError when what is there cannot be read; what is not there is reported as not run.
    """
    folder = Path(folder)
    results = read_results(folder)
    target = folder if out is None else Path(out)
    if target.resolve() != folder.resolve():
        _copy(folder, target)
    return write_page(results, _write_figures(results, target), target)


def write_rank_figures(folder: Path) -> tuple[Path, ...]:
    """Draw the ``rank.csv`` of a folder; returns the paths of the figure's files."""
    table = folder / RANK.name
    figure = densities.figure(told_apart(read_table(table, RANK)))
    return tuple(save_figure(figure, folder / FIGURES, "rank-densities", table).values())


def write_map_figures(folder: Path) -> tuple[Path, ...]:
    """Draw the ``maps.csv`` and ``maps.npz`` of a folder; returns the paths of the files."""
    table, stored = folder / MAPS.name, folder / "maps.npz"
    maps = told_apart(read_table(table, MAPS))
    drawn: list[tuple[str, Figure, Path]] = [("activation-iou", activation.figure(maps), table)]
    arrays = read_map_arrays(stored)
    if arrays is not None:
        arrays = arrays.told_apart(dict(zip(maps["run"], maps["arm"], strict=True)))
        drawn.append(("gallery", gallery.figure(arrays, arrays.first_seed), stored))
    saved = [save_figure(figure, folder / FIGURES, name, source) for name, figure, source in drawn]
    return tuple(path for paths in saved for path in paths.values())


def _write_figures(results: Results, target: Path) -> dict[str, Path]:
    paths = {}
    for section in SECTIONS:
        if section.missing(results):
            continue
        for drawing in section.drawings:
            try:
                figure = drawing.draw(results)
            except TableError as error:
                raise TableError(f"{results.folder / drawing.table}: {error}") from error
            if figure is None:
                continue
            saved = save_figure(figure, target / FIGURES, drawing.name, target / drawing.table)
            paths[drawing.name] = saved["svg"]
    return paths


def _copy(folder: Path, target: Path) -> None:
    for name in ("analysis.yaml", "maps.npz", *SCHEMAS):
        if (folder / name).is_file():
            with atomically(target / name) as partial:
                shutil.copyfile(folder / name, partial)
