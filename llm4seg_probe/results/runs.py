"""Runs in the hand: sets of them, one that is trained, what it predicts, and what one costs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any
from weakref import finalize

import pandas as pd

from llm4seg_probe import tables
from llm4seg_probe.config import Config, load_config, validated
from llm4seg_probe.errors import CheckpointError, ConfigError, UserError, unknown
from llm4seg_probe.models.outside import is_outside, refuse_unasked
from llm4seg_probe.probes.probed import Source
from llm4seg_probe.reading.names import files_of
from llm4seg_probe.results.result import Result
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.result_checks import after_training, outcome, same_everywhere
from llm4seg_probe.training.stored_run import Run, load
from llm4seg_probe.yaml_files import with_overrides

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Overrides = Mapping[str, Any] | Sequence[str]
_NAMED = ["run", "dataset", "arm", "seed"]


class Runs(Result):
    """A set of finished runs, opened one at a time.

    ``runs[0]`` and a loop over them open runs; a probe, ``lp.rank(runs)``, takes the set itself.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, place: int) -> Run:
        return load(self.paths[place])

    def __iter__(self) -> Iterator[Run]:
        return map(load, self.paths)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per run: arm, seed, data, epoch, validation and test IoU, and where it lies."""
        return pd.DataFrame([self._row(path) for path in self.paths])

    @staticmethod
    def _row(path: Path) -> dict[str, Any]:
        content = Source(path).content
        config = content.configuration(str(path))
        return {
            "run": content.name, "dataset": content.dataset, "arm": config.arm,
            "seed": config.seed, "epoch": content.epoch, "val_iou": content.val_iou,
            "test_iou": _test_iou(path.parent), "path": str(path),
        }  # fmt: skip

    @property
    def summary(self) -> pd.DataFrame:
        """Runs and mean test IoU of each arm."""
        grouped = self.table.groupby(["dataset", "arm"], sort=False)
        numbers = {"seeds": ("seed", "nunique"), "val_iou": ("val_iou", "mean")}
        return grouped.agg(**numbers, test_iou=("test_iou", "mean")).reset_index()

    @cached_property
    def scores(self) -> pd.DataFrame:
        """Scores of all runs, as ``scores.csv`` has them. Raises TableError for one without."""
        return _gathered(self.paths, run_folder.SCORES, tables.SCORES)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Training curves of all runs, with the arm and seed of each."""
        rows: list[dict[str, Any]] = self.table[_NAMED].to_dict("records")  # type: ignore[assignment]
        parts = [
            tables.read_table(path.parent / run_folder.METRICS, tables.METRICS).assign(**row)
            for path, row in zip(self.paths, rows, strict=True)
        ]
        return pd.concat(parts, ignore_index=True)

    def where(self, **fields: Any) -> Runs:
        """Those of the runs whose columns have these values, such as ``arm="llm"``.

        Raises UserError for a column that there is not, and where none is left.
        """
        rows = self.table
        for name, value in fields.items():
            if name not in rows.columns:
                raise UserError(unknown("column", name, rows.columns))
            rows = rows[rows[name] == value]
        if rows.empty:
            said = ", ".join(f"{name}={value}" for name, value in fields.items())
            raise CheckpointError(f"none of the {len(self)} runs has {said}")
        return Runs([self.paths[place] for place in rows.index])

    def best(self) -> Run:
        """The run with the highest validation IoU; where there is none, with the lowest loss."""
        reached = self.table["val_iou"].astype(float)
        if reached.isna().all():
            reached = -self.curves.groupby("run", sort=False)["val_loss"].min()
        return self[int(reached.fillna(-1.0).argmax())]

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        from llm4seg_probe.report.figures import curves, paired

        found: dict[str, Callable[[], Figure]] = {}
        if all((path.parent / run_folder.SCORES).is_file() for path in self.paths):
            found["paired-scores"] = lambda: paired.figure(self.scores)
        if all((path.parent / run_folder.METRICS).is_file() for path in self.paths):
            found["learning-curves"] = lambda: curves.figure(self.curves)
        return found


def runs(paths: str | Path | list[str | Path]) -> Runs:
    """Find finished runs.

    Parameters
    ----------
    paths : str, Path, or list of them
        A ``run.pt``, the folder of a run, or a glob such as ``"runs/*/run.pt"``.

    Returns
    -------
    Runs
        Each run once, in the order of the paths; ``.table`` says what they are.

    Raises
    ------
    CheckpointError
        For a path or pattern that matches nothing.
    """
    patterns = [paths] if isinstance(paths, str | Path) else paths
    return Runs(files_of(patterns, CheckpointError))


class Trained(Result):
    """A run that was trained: ``.run`` is it, as :func:`llm4seg_probe.load` opens it."""

    def __init__(
        self,
        folder: Path,
        scratch: str | None = None,
        network: str | None = None,
    ) -> None:
        self.folder = folder
        if scratch is not None:
            finalize(self, shutil.rmtree, scratch, ignore_errors=True)
        trained = load_config(folder / run_folder.CONFIG)
        self.run = load(folder / run_folder.BEST, network=network, device=trained.compute.device)

    @property
    def path(self) -> Path:
        """Its ``run.pt``."""
        return self.folder / run_folder.BEST

    @property
    def table(self) -> pd.DataFrame:
        """One row per epoch, as ``metrics.csv`` has them."""
        return tables.read_table(self.folder / run_folder.METRICS, tables.METRICS)

    @property
    def history(self) -> pd.DataFrame:
        """The same as ``table``: loss and scores by epoch."""
        return self.table

    @property
    def scores(self) -> pd.DataFrame:
        """Scores per image and class, as ``scores.csv`` has them."""
        return tables.read_table(self.folder / run_folder.SCORES, tables.SCORES)

    @property
    def summary(self) -> pd.DataFrame:
        """Arm, seed, best epoch, validation and test IoU."""
        return Runs([self.path]).table.drop(columns="path")

    @cached_property
    def learned(self) -> tuple[str, ...]:
        """Its best epoch and its scores, after an alarm where it answers the same everywhere."""
        alarm = same_everywhere(self.run)
        return (*([alarm] if alarm else []), outcome(self.folder))

    @property
    def signatures(self) -> tuple[str, ...]:
        """Signs of failure, each with the field to change."""
        return tuple(after_training(self.folder))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it learned, and signs of failure."""
        return (*self.learned, *self.signatures)

    def _drawings(self) -> dict[str, Callable[[], Figure]]:
        from llm4seg_probe.report.figures import curves

        return {"learning-curves": lambda: curves.figure(Runs([self.path]).curves)}

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Copy the run's folder. Raises UserError where there is something already."""
        target = Path(folder)
        if target.exists() and any(target.iterdir()):
            raise UserError(f"{target} holds something already: name another folder")
        shutil.copytree(self.folder, target, dirs_exist_ok=True)
        return tuple(sorted(path for path in target.iterdir() if path.is_file()))


def train(
    config: str | Path | Config | Mapping[str, Any],
    out: str | Path | None = None,
    *,
    resume: bool = False,
    embed_llm: bool = False,
    overrides: Overrides = (),
    network: str | None = None,
    device: str | None = None,
    **fields: Any,
) -> Trained:
    """Train one run.

    Parameters
    ----------
    config : path, Config or mapping
        A run's YAML file, or what stands in one.
    out : str or Path, optional
        The run's folder. Without one it lies in a temporary folder, which goes with the result
        unless :meth:`Trained.save` copies it.
    resume : bool
        Go on from ``last.pt`` in ``out``.
    embed_llm : bool
        Keep the layer's weights in ``run.pt``, so that no source is needed to open it.
    overrides : mapping or sequence of str, optional
        Fields to change by their paths, ``{"training.epochs": 3}`` or ``["training.epochs=3"]``.
    network : str, optional
        A network from outside that the file may name, ``package.module:callable``.
    device : str, optional
        Where it is trained and scored, ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; by
        default what the configuration says in ``compute.device``.
    **fields
        Fields of the first level, ``arm="cnn", seed=3``.

    Returns
    -------
    Trained
        With ``.run``, ``.history`` and ``.scores``.

    Raises
    ------
    UserError
        Where data, network, layer, machine or folder do not allow it, before anything is trained.
    """
    from llm4seg_probe.data.checks import tell_of_first
    from llm4seg_probe.data.datasets import listed_collection
    from llm4seg_probe.training.train import train as train_run

    chosen = on_device(configuration(config, overrides, network, **fields), device)
    if out is None and resume:
        raise UserError("resume goes on in a folder: name it, out=…")
    scratch = None
    if out is None:
        scratch = mkdtemp(prefix="llm4seg-run-")
        out = Path(scratch) / f"{chosen.arm}-{chosen.seed}"
    folder = Path(out)
    tell_of_first(listed_collection(chosen.data.name, classes=chosen.data.classes))
    try:
        train_run(chosen, folder, resume=resume, embed_layer=embed_llm)
    except BaseException:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        raise
    name = chosen.backbone.name
    return Trained(folder, scratch, network=name if is_outside(name) else None)


def configuration(
    config: str | Path | Config | Mapping[str, Any],
    overrides: Overrides = (),
    network: str | None = None,
    **fields: Any,
) -> Config:
    """A run's configuration with some fields changed, by their paths.

    A file may name a network from outside only where ``network`` or an override, the user's own
    words, name it too. Raises ConfigError that names the field.
    """
    texts = as_texts(overrides, fields)
    if isinstance(config, str | Path):
        chosen = load_config(Path(config), texts)
        own = [text.partition("=")[2] for text in texts if "backbone" in text]
        if not any(chosen.backbone.name in text for text in own):
            refuse_unasked(chosen.backbone.name, str(config), ConfigError, network)
        return chosen
    values = config.model_dump(mode="json") if isinstance(config, Config) else dict(config)
    return validated(with_overrides(values, texts), Config, "the configuration")


def on_device(config: Config, device: str | None) -> Config:
    """The configuration on a device. Raises ConfigError for a word that names none."""
    if device is None:
        return config
    values = config.model_dump(mode="json")
    values["compute"]["device"] = device
    return validated(values, Config, "the configuration")


def as_texts(overrides: Overrides, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides as the command line has them, ``key=value``."""
    given = (
        [f"{name}={_as_yaml(value)}" for name, value in overrides.items()]
        if isinstance(overrides, Mapping)
        else list(overrides)
    )
    return (*given, *(f"{name}={_as_yaml(value)}" for name, value in fields.items()))


def _as_yaml(value: Any) -> str:
    return json.dumps(value, default=str)  # JSON is YAML


def _test_iou(folder: Path) -> float:
    """Mean test IoU of a run's best epoch, where its scores lie beside it."""
    from llm4seg_probe.drawing.table_rows import on_test_split

    if not (folder / run_folder.SCORES).is_file():
        return float("nan")
    scores = tables.read_table(folder / run_folder.SCORES, tables.SCORES)
    return float(on_test_split(scores)["iou"].mean())


def _gathered(paths: tuple[Path, ...], name: str, schema: tables.Schema) -> pd.DataFrame:
    parts = [tables.read_table(path.parent / name, schema) for path in paths]
    return pd.concat(parts, ignore_index=True)
