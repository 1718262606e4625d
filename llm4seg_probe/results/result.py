"""The abilities of every result: a table, a summary, sentences, a plot, and files if asked."""

from __future__ import annotations

import base64
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 620
"""Pixels of a figure on a screen, about; figures are made as wide as a journal's column or page."""
_ROWS = 30
"""Rows of a summary that a notebook shows; the table has all of them."""


class Result(ABC):
    """What a call of ``lp`` gives back.

    It lives in memory: nothing is written before :meth:`save`. In a notebook it shows its summary
    and its first figure.
    """

    @property
    @abstractmethod
    def table(self) -> pd.DataFrame:
        """All that was found: one row per measurement, keys first, full precision."""

    @property
    def summary(self) -> pd.DataFrame:
        """A few rows that say most; the table itself where it is short enough."""
        return self.table

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said of it, in words; empty where nothing is to be said."""
        return ()

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        """How each of its figures is drawn, by name, the first one first."""
        return {}

    def figures(self) -> dict[str, Figure]:
        """Draw its figures, the first one first; empty where there is none."""
        return {name: draw() for name, draw in self._drawings().items()}

    def plot(self, name: str | None = None) -> Axes | np.ndarray:
        """Draw a figure for a script or a notebook, as the page has it.

        Parameters
        ----------
        name : str, optional
            One of ``figures()``; the first unless given.

        Returns
        -------
        Axes or array of Axes
            To be changed further; the figure is pyplot's current one, which ``pyplot.show`` shows.

        Raises
        ------
        UserError
            Where there is no such figure, or none at all.
        """
        from matplotlib import pyplot

        figure = _chosen(self._drawings(), name, self)()
        figure.set_dpi(_dots_of(figure))
        pyplot.figure(figure)
        return axes_of(figure)

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write its table and figures into a folder; returns the files."""
        return save_files({f"{self._name}.csv": self.table}, self.figures(), Path(folder))

    @property
    def _name(self) -> str:
        """Name of its files."""
        return type(self).__name__.lower()

    def __repr__(self) -> str:
        shown = self.summary.head(_ROWS).to_string(index=False, float_format="%.4f")
        return "\n".join([f"{type(self).__name__}", shown, *self.sentences])

    def _repr_html_(self) -> str:
        """Show the summary, the sentences and the first figure in a notebook."""
        summary = self.summary
        parts = [as_html(summary.head(_ROWS))]
        if len(summary) > _ROWS:
            parts.append(
                f"<p>{_ROWS} of {len(summary)} rows; all of them: <code>.summary</code></p>"
            )
        parts += [f"<p>{escape(sentence)}</p>" for sentence in self.sentences]
        for name, draw in list(self._drawings().items())[:1]:
            parts.append(f'<img alt="{escape(name)}" src="{picture_of(draw())}">')
        return "\n".join(parts)


class Text(str):
    """Text that a notebook shows as Markdown."""

    def _repr_markdown_(self) -> str:
        return str(self)


def _chosen(
    drawings: Mapping[str, Callable[[], Figure]], name: str | None, result: object
) -> Callable[[], Figure]:
    if not drawings:
        raise UserError(f"a {type(result).__name__} of this kind has no figure: look at its table")
    if name is not None and name not in drawings:
        raise UserError(unknown("figure", name, drawings))
    return drawings[next(iter(drawings)) if name is None else name]


def axes_of(figure: Figure) -> Axes | np.ndarray:
    """The axes of a figure: the one that there is, or an array of them, as pandas gives them."""
    import numpy as np

    axes = figure.axes
    if len(axes) == 1:
        return axes[0]
    found = np.empty(len(axes), dtype=object)
    found[:] = axes
    return found


def as_html(table: pd.DataFrame) -> str:
    """A table for a notebook, without its index, numbers at four digits."""
    return table.to_html(
        index=False, border=0, na_rep="–", float_format=lambda number: f"{number:.4g}"
    )


def _dots_of(figure: Figure) -> float:
    """Dots per inch with which a figure is read well on a screen."""
    return float(min(160.0, max(100.0, _WIDTH / figure.get_figwidth())))


def picture_of(figure: Figure) -> str:
    """A figure as the address of a PNG that stands in the text itself."""
    from llm4seg_probe.drawing.style import paper_style

    drawn = io.BytesIO()
    with paper_style():
        figure.savefig(drawn, format="png", dpi=_dots_of(figure), metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(drawn.getvalue()).decode('ascii')}"


def save_files(
    tables: Mapping[str, pd.DataFrame], figures: Mapping[str, Figure], folder: Path
) -> tuple[Path, ...]:
    """Write tables by their files' names, and figures beside the first in three formats."""
    written = [write_csv(table, folder / name) for name, table in tables.items()]
    return (*written, *save_figures(figures, written[0]))


def save_figures(figures: Mapping[str, Figure], table: Path) -> tuple[Path, ...]:
    """Write figures in three formats beside the table that they show."""
    from llm4seg_probe.drawing.figure_files import save_figure

    folder = table.parent / "figures"
    saved = [save_figure(figure, folder, name, table) for name, figure in figures.items()]
    return tuple(path for paths in saved for path in paths.values())


def write_csv(table: pd.DataFrame, path: Path) -> Path:
    """Write a table as CSV."""
    from llm4seg_probe.storage import atomically

    with atomically(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")
    return path
