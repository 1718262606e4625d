"""Masks of new images in the hand: ``lp.predict``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from llm4seg_probe.errors import CheckpointError, DataError, unknown
from llm4seg_probe.reading.names import files_of
from llm4seg_probe.results.result import Result
from llm4seg_probe.results.runs import Trained
from llm4seg_probe.training.label_prediction import predicted_table
from llm4seg_probe.training.predict import (
    Predicted,
    pixels_of,
    predicted,
    targets_of,
    write_predicted,
)
from llm4seg_probe.training.stored_run import Run, load

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from PIL.Image import Image


class Predictions(Result):
    """Masks of new images, in memory, each on the grid of its image."""

    def __init__(self, run: Run, found: list[Predicted], images: Path) -> None:
        self.run = run
        self._found = found
        self._images = images

    def __len__(self) -> int:
        return len(self._found)

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """Boolean masks (K, *grid) by the name of their image."""
        return {one.name: one.raw.mask for one in self._found}

    @property
    def probabilities(self) -> dict[str, np.ndarray]:
        """Probabilities (K, *grid) by the name of their image, where they were asked for."""
        return {one.name: one.probabilities for one in self._found if one.probabilities is not None}

    @property
    def table(self) -> pd.DataFrame:
        """One row per image and class: pixels, and their share of the image."""
        return pd.DataFrame(
            [
                {"image": one.name, "class": name, "pixels": count,
                 "share": count / one.raw.mask[0].size}
                for one in self._found
                for name, count in pixels_of(self.run, one.raw.mask).items()
            ]
        )  # fmt: skip

    @property
    def sentences(self) -> tuple[str, ...]:
        """An alarm where the network answers the same everywhere."""
        shares = set(self.table["share"])
        if shares not in ({0.0}, {1.0}):
            return ()
        word = "background" if shares == {0.0} else "foreground"
        return (f"Every pixel of every image is {word}: the run has learned nothing of use here.",)

    def overlay(self, image: int | str = 0, side: int = 512) -> Image:
        """Picture of an image with the outlines of its masks, by its place or name.

        Raises DataError for an image that there is not.
        """
        from llm4seg_probe.data.contact_sheet import outlined

        names = [one.name for one in self._found]
        if isinstance(image, str) and image not in names:
            raise DataError(unknown("image", image, names))
        place = names.index(image) if isinstance(image, str) else image
        return outlined(self._found[place].raw, side)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        return {"overlays": self._overlays}

    def _overlays(self) -> Figure:
        from matplotlib.figure import Figure

        from llm4seg_probe.drawing.style import paper_style

        shown = min(6, len(self))
        with paper_style():
            drawing = Figure(figsize=(2.2 * shown, 2.5), layout="constrained")
            for place, axes in enumerate(drawing.subplots(1, shown, squeeze=False)[0]):
                axes.imshow(self.overlay(place, 256))
                axes.set_title(self._found[place].name)
                axes.axis("off")
        return drawing

    def save(self, folder: str | Path, *, overlays: bool = False) -> tuple[Path, ...]:
        """Write the masks in the images' own formats, and probabilities where there are any."""
        out = Path(folder)
        targets = targets_of({one.name: one.image for one in self._found}, out)
        written: list[Path] = []
        for one in self._found:
            done = write_predicted(self.run, one, targets[one.name], out, overlays=overlays)
            written += done.masks
            written += [path for path in (done.overlay, done.probabilities) if path is not None]
        return tuple(written)


class LabelPredictions(Result):
    """Labels, or objects, of new images: a table, one row per image and class, or per object."""

    def __init__(self, run: Run, table: pd.DataFrame) -> None:
        self.run = run
        self._table = table

    @property
    def table(self) -> pd.DataFrame:
        """As the command ``predict`` writes it."""
        return self._table

    @property
    def _name(self) -> str:
        return "predictions"


def predict(
    run: Run | Trained | str | Path,
    images: str | Path,
    *,
    modality: str | None = None,
    probabilities: bool = False,
    device: str | None = None,
) -> Predictions | LabelPredictions:
    """Predict masks of new images, or their labels or objects where that is the run's task.

    Parameters
    ----------
    run : run or path
        An opened run, what :func:`train` gave, or the path of a ``run.pt``.
    images : str or Path
        An image, a folder of images, or a DICOM series.
    modality : {"ct", "mr", "photo"}, optional
        What the images are; by default what they say themselves.
    probabilities : bool
        Keep the probability of each class, too.
    device : str, optional
        Where it is computed, ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by default
        ``auto``, and an opened run where it lies.

    Returns
    -------
    Predictions
        ``.masks`` by image; ``.save(folder)`` writes them in the images' own formats. All are in
        memory: of very many volumes the command ``predict`` writes one at a time.
    LabelPredictions
        Of a classification or a detection: ``.table``.

    Raises
    ------
    DataError
        For an image that cannot be read, or that the network gives no numbers for.
    """
    opened = run.run if isinstance(run, Trained) else run if isinstance(run, Run) else None
    if opened is None:
        assert not isinstance(run, Run | Trained)
        (path,) = files_of([run], CheckpointError)[:1]
        opened = load(path, device=device or "auto")
    opened = opened.on(device)
    place = Path(images)
    if opened.config.task != "segmentation":
        return LabelPredictions(opened, predicted_table(opened, place, modality=modality))
    found = list(predicted(opened, place, modality=modality, probabilities=probabilities))
    return Predictions(opened, found, place)
