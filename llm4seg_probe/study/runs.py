"""Plan the runs of an analysis, fetch what they need, and make each one once."""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config, load_config
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.subsets import ALL, refuse_without_foreground, training_split
from llm4seg_probe.errors import ConfigError, DataError
from llm4seg_probe.llm.catalogue import fetch_layers
from llm4seg_probe.models.backbones import refuse_misfit
from llm4seg_probe.probes import registry
from llm4seg_probe.reading.text import read_json_object
from llm4seg_probe.statistics.sizes import COUNT
from llm4seg_probe.training import run_folder
from llm4seg_probe.training.environment import read_environment


def fetched(configs: Sequence[Config]) -> list[str]:
    """Bring data and decoder layers here, side by side; return the data's fingerprint per run.

    Raises the first UserError, that of a subset of the training images too: a study that cannot be
    finished is not begun.
    """
    for config in configs:
        refuse_misfit(config)
    of_layers = [config for config in configs if ARMS[config.arm].middle == "layer"]
    layers = {
        (booster.source, booster.layer, booster.mixture, arm.mixed): (booster, arm.mixed)
        for booster, arm in ((config.booster, ARMS[config.arm]) for config in of_layers)
    }
    data = {(config.data.name, config.data.classes) for config in configs}
    # One thread for the layers: transformers' lazy imports fail when two threads begin them.
    with ThreadPoolExecutor(max_workers=1) as pool:
        arriving = [
            pool.submit(fetch_layers, booster, mixed=mixed) for booster, mixed in layers.values()
        ]
        opened = {
            (name, classes): open_collection(name, classes=classes)
            for name, classes in sorted(data)
        }
        for config in _subsets(configs):
            collection = opened[config.data.name, config.data.classes]
            refuse_without_foreground(collection, training_split(collection, config), config)
        prints = {key: collection.fingerprint for key, collection in opened.items()}
        for future in arriving:
            future.result()
    return [prints[config.data.name, config.data.classes] for config in configs]


def _subsets(configs: Sequence[Config]) -> list[Config]:
    """One configuration for each subset of training images."""
    found: dict[tuple[object, ...], Config] = {}
    for config in configs:
        data = config.data
        if data.train_images != ALL:
            drawn = (data.name, data.classes, data.split, data.split_seed, data.train_images)
            found.setdefault((config.seed, *drawn), config)
    return list(found.values())


@dataclass(frozen=True)
class PlannedRun:
    """One run with the folder that its identity gives it."""

    config: Config
    path: Path

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return run_folder.is_done(self.path)

    @property
    def begun(self) -> bool:
        """Whether the run can be resumed."""
        return run_folder.can_go_on(self.path)

    @property
    def share_done(self) -> float:
        """How much of the run is done, from 0 to 1, by the epochs in its folder."""
        if self.done:
            return 1.0
        metrics = self.path / run_folder.METRICS
        if not metrics.is_file():
            return 0.0
        try:
            epochs = metrics.read_text(encoding="utf-8").count("\n") - 1
        except (OSError, ValueError):  # another process may be making the folder anew
            return 0.0
        return 0.95 * epochs / self.config.training.epochs

    @property
    def checkpoint(self) -> Path:
        """Path of the run's selected checkpoint."""
        return self.path / run_folder.BEST


_WITHOUT_EFFECT: Any = {
    "training": {"workers", "loggers"},
    "compute": {"keep_freed_memory"},
}
"""Fields that change neither the bits of a run nor its tables."""
_LATER: Any = {
    ("task",): lambda arm: True,
    ("data", "train_images"): lambda arm: True,
    ("data", "label_noise"): lambda arm: True,
    ("training", "steps_per_epoch"): lambda arm: True,
    ("evaluation", "match_distance"): lambda arm: True,
    ("booster", "mixture"): lambda arm: arm.mixed,
    ("booster", "mix_weights"): lambda arm: arm.mixed,
    ("training", "optimiser", "gates_lr"): lambda arm: arm.mixed or arm.gated,
}
"""Fields that came after runs had been made, with the arms in which they play a part.

Elsewhere, and where they are as by default, they do not count.
"""


def identity(config: Config, data_fingerprint: str) -> str:
    """Hexadecimal text that two runs share only if configuration and data are the same.

    Fields that cannot change a result, such as the number of loader workers, do not count; nor do
    fields that were added later, where they say what was done before, so that runs keep their
    folders.
    """
    fields = config.model_dump(mode="json", exclude=_WITHOUT_EFFECT)
    usual = Config().model_dump(mode="json")
    for (*sections, name), plays in _LATER.items():
        own, default = fields, usual
        for section in sections:
            own, default = own[section], default[section]
        if own[name] == default[name] or not plays(ARMS[config.arm]):
            del own[name]
    # Under its former name, so that runs from before keep their folders; which GPU has no effect.
    device = fields["compute"].pop("device")
    fields["compute"]["accelerator"] = device.partition(":")[0]
    values = json.dumps(fields, sort_keys=True)
    return hashlib.sha256(f"{values}\n{data_fingerprint}".encode()).hexdigest()


def plan(
    configs: Sequence[Config], data_fingerprints: Sequence[str], runs: Path
) -> list[PlannedRun]:
    """The runs in the order of their configurations, each in its folder under ``runs``."""
    return [
        PlannedRun(config, runs / f"{config.arm}-{config.seed}-{identity(config, data)[:8]}")
        for config, data in zip(configs, data_fingerprints, strict=True)
    ]


def make(run: PlannedRun) -> None:
    """Train one run from where it stands; a finished one is left as it is."""
    from llm4seg_probe.training import train

    if not run.done:
        train.make(run.config, run.path)


@dataclass(frozen=True)
class RunEstimate:
    """Expected time and memory of one run, each None where nothing is known."""

    seconds: float | None
    memory_mb: float | None


@dataclass(frozen=True)
class _Made:
    config: Config
    seconds: float
    memory_mb: float


def estimates(runs: Sequence[PlannedRun], measured: Sequence[Path] = ()) -> list[RunEstimate]:
    """For each run the medians over finished runs of its kind, from the folders of the runs.

    Runs are of one kind that differ in nothing that changes the work: same arm, network, image
    size, batches, precision and language model. Where there are none of the same arm, those of
    any arm are taken. The seconds are for each epoch, times the epochs of the run. ``measured``
    are further folders of runs to learn from.
    """
    stores = dict.fromkeys([*(run.path.parent for run in runs), *measured])
    made = [run for store in stores for run in _made(store)]
    return [_estimate(run.config, made) for run in runs]


def hours(expected: Sequence[RunEstimate], workers: int) -> float | None:
    """Hours that runs take side by side, None where one of them is not known."""
    seconds = [estimate.seconds for estimate in expected]
    if any(value is None for value in seconds):
        return None
    return sum(value for value in seconds if value is not None) / workers / 3600


def _estimate(config: Config, made: Sequence[_Made]) -> RunEstimate:
    for kind in (_kind, _kind_of_any_arm):
        alike = [one for one in made if kind(one.config) == kind(config)]
        if alike:
            per_epoch = [one.seconds / one.config.training.epochs for one in alike]
            return RunEstimate(
                statistics.median(per_epoch) * config.training.epochs,
                max(one.memory_mb for one in alike),
            )
    return RunEstimate(None, None)


def _kind(config: Config) -> tuple[object, ...]:
    return (
        config.arm,
        config.booster.source,
        len((ARMS[config.arm].mixed and config.booster.mixture) or config.booster.layers),
        *_kind_of_any_arm(config),
    )


def _kind_of_any_arm(config: Config) -> tuple[object, ...]:
    data, compute = config.data, config.compute
    return (
        config.backbone.name, config.backbone.widths, data.name, data.image_size, data.channels,
        data.sampling, data.train_images, config.training.steps_per_epoch,
        config.training.batch_size, compute.threads, compute.precision, compute.memory_format,
        compute.device,
    )  # fmt: skip


def _made(store: Path) -> list[_Made]:
    finished = []
    for path in sorted(store.glob(f"*/{run_folder.ENVIRONMENT}")):
        try:
            config = load_config(path.with_name(run_folder.CONFIG))
            noted = read_json_object(path, DataError)
            wall, peak = float(noted["wall_seconds"]), float(noted["peak_memory_mb"])
            finished.append(_Made(config, wall, peak))
        except (ConfigError, DataError, ValueError, TypeError, KeyError):
            continue  # of another version: nothing to learn from
    return finished


_ALWAYS = {
    "data.name": "dataset",
    "backbone.name": "backbone",
    "arm": "arm",
    "booster.source": "llm",
    "booster.layer": "layer",
    "seed": "seed",
}
"""Fields that have a column whether they vary or not, and what it is called."""
_OF_ANY_BOOSTER = ("booster.residual", "booster.adapter_init")
_OF_A_MIXTURE = ("booster.mixture", "booster.mix_weights")
_NOT_DEVIATING = ("arm", "seed")


def described(
    runs: Sequence[PlannedRun], base: Config, stored: Mapping[str, Mapping[str, Any]] | None = None
) -> pd.DataFrame:
    """One row per run: the fields that vary, what the run cost, and where it deviates.

    ``deviation`` holds what differs from the base configuration, as a condition of a claim
    writes it (``layer=10``; several with commas); empty in a run that is the arm itself. A field
    of the data that goes with the data set, such as its split, is part of that. Where runs differ
    in ``data.train_images``, ``training_images`` is how many it came to. stored: what is known of
    runs without a folder, by their name.
    """
    table = settings([run.config for run in runs], base)
    names = [run.path.name for run in runs]
    table.insert(0, "run", names)
    made = [(stored or {}).get(run.path.name) or read_environment(run.path) for run in runs]
    if len({run.config.data.train_images for run in runs}) > 1:
        table[COUNT] = [_trained_on(run, each) for run, each in zip(runs, made, strict=True)]
    for column in ("wall_seconds", "peak_memory_mb"):
        table[column] = [each[column] for each in made]
    return table


def _trained_on(run: PlannedRun, made: Mapping[str, Any]) -> int | None:
    """How many images a run was trained on; of one that does not say, by its split."""
    if "training_images" in made:
        return int(made["training_images"])
    split = run.path / run_folder.SPLIT
    return len(Split.load(split).train) if split.is_file() else None


def settings(configs: Sequence[Config], base: Config) -> pd.DataFrame:
    """The fields that vary between configurations, by their columns, and ``deviation``."""
    flat = [_flat(config) for config in configs]
    columns = {**_ALWAYS, **_columns(_varying(flat))}
    rows = [
        {
            **{column: values[name] for name, column in columns.items()},
            "deviation": deviation,
        }
        for values, deviation in zip(flat, deviations(configs, base), strict=True)
    ]
    return pd.DataFrame(rows)


def deviations(configs: Sequence[Config], base: Config) -> list[str]:
    """What differs from the base in each configuration, as a condition writes it."""
    flat = [_flat(config) for config in configs]
    varying = [name for name in _varying(flat) if name not in _NOT_DEVIATING]
    names = _columns(_varying(flat))
    usual = {arm: _flat(base.model_copy(update={"arm": arm})) for arm in {c.arm for c in configs}}
    found = []
    for config, values in zip(configs, flat, strict=True):
        of_the_data = _going_with(values["data.name"], flat, base)
        found.append(
            ",".join(
                sorted(
                    f"{names[name]}={values[name]}"
                    for name in varying
                    if name not in of_the_data and values[name] != usual[config.arm][name]
                )
            )
        )
    return found


def _varying(flat: Sequence[Mapping[str, str]]) -> list[str]:
    return [name for name in flat[0] if len({values[name] for values in flat}) > 1]


def _flat(config: Config) -> dict[str, str]:
    """Dotted fields of a configuration with their values as text, empty where they play no part."""
    found: dict[str, str] = {}
    _flatten(config.model_dump(mode="json"), "", found)
    arm = ARMS[config.arm]
    for name in found:
        plays = arm.middle == "layer" or (name in _OF_ANY_BOOSTER and config.arm != "cnn")
        if name in _OF_A_MIXTURE:
            plays = arm.mixed
        if name.startswith("booster.") and not plays:
            found[name] = ""
    return found


def _flatten(values: Mapping[str, Any], prefix: str, found: dict[str, str]) -> None:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            _flatten(value, f"{prefix}{name}.", found)
        else:
            found[prefix + name] = _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return "" if value is None or value == {} else str(value)


def _columns(varying: Sequence[str]) -> dict[str, str]:
    """Column names of the fields that vary: the last part of the name where that is enough.

    The split that a run was drawn by is ``data.split``: ``split`` is a side of it in other tables.
    """
    leaves = [name.rpartition(".")[2] for name in varying]
    taken = {
        *_ALWAYS.values(),
        *(column for schema in registry.schemas().values() for column in schema.columns),
    }
    return {
        name: _ALWAYS.get(name) or (leaf if leaves.count(leaf) == 1 and leaf not in taken else name)
        for name, leaf in zip(varying, leaves, strict=True)
    }


def _going_with(dataset: str, flat: Sequence[Mapping[str, str]], base: Config) -> set[str]:
    """Fields of the data that have one value throughout a data set other than the base's."""
    if dataset == base.data.name:
        return set()
    its = [values for values in flat if values["data.name"] == dataset]
    fields = [name for name in its[0] if name.startswith("data.") and name != "data.name"]
    return {name for name in fields if len({values[name] for values in its}) == 1}
