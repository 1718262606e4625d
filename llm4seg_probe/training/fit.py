"""One run from its configuration to its folder."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout
from torch import Tensor, nn

from llm4seg_probe import storage, tables
from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.data.splits import Split, split_of
from llm4seg_probe.errors import ConfigError, DataError, TrainingError
from llm4seg_probe.models.arms import ARMS
from llm4seg_probe.models.network import build_network, load_portable_state
from llm4seg_probe.training import checkpoint, folder
from llm4seg_probe.training.compute import arranged, check_device, computing, failures_named
from llm4seg_probe.training.environment import environment, peak_memory_mb
from llm4seg_probe.training.evaluate import score_checkpoints
from llm4seg_probe.training.fitting import fit
from llm4seg_probe.training.loggers import loggers_of
from llm4seg_probe.training.processes import in_processes, node_rank
from llm4seg_probe.training.rank import job_of


def train(config: Config, out: Path, *, resume: bool = False, embed_layer: bool = False) -> Path:
    """Train, select and score one run; return the path of its ``run.pt``.

    The folder ``out`` then holds the files of a run folder; interrupted, it goes on with
    ``resume``. With ``embed_layer`` the layer's weights are in ``run.pt``, which then opens
    without the layer's source. Raises a UserError where the data, the network, the layer, the
    machine or the folder do not allow it, before anything is trained.
    """
    if embed_layer and ARMS[config.arm].middle != "layer":
        raise ConfigError(
            f"arm '{config.arm}' has no decoder layer to embed: leave --embed-llm out"
        )
    check_device(config.compute)
    loggers_of(config.training.loggers, out)  # only to see that they can be made
    if node_rank(config.compute) > 0:
        _help(config, out, resume=resume, embed_layer=embed_layer)
        return out / folder.BEST
    started = time.monotonic()
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.with_name(f".{out.name}.lock"), blocking=False)
    try:
        with lock, computing(config.compute), failures_named(config):
            _train(config, out, resume=resume, embed_layer=embed_layer, started=started)
    except Timeout as error:
        raise TrainingError(f"another process is training {out} at this moment") from error
    return out / folder.BEST


def _train(config: Config, out: Path, *, resume: bool, embed_layer: bool, started: float) -> None:
    # First, because it is quick to say what of the configuration does not fit together.
    network = arranged(build_network(config), config)
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = split_of(collection, config.data)
    _something_to_learn(collection, split)
    folder.prepare(out, config, resume=resume)
    split.save(out / folder.SPLIT)
    options = {"resume": resume, "embed_layer": embed_layer}
    if config.compute.processes > 1:
        in_processes(config.compute, job_of(config, split.to_dict(), out, **options))
        load_portable_state(network, _last_state(out))
    else:
        fit(config, network, collection, split, out, **options)
    tables.write_table(
        _scores(config, network, collection, split, out), out / folder.SCORES, tables.SCORES
    )
    about = environment() | {
        "wall_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": collection.fingerprint,
        "split_fingerprint": split.fingerprint,
    }
    storage.write_json(out / folder.ENVIRONMENT, about)


def _something_to_learn(collection: Collection, split: Split) -> None:
    """Raise DataError where no training image has foreground; mostly the first one has."""
    samples = map(collection.sample, split.train)
    if not any(collection.read_to_train(sample).mask.any() for sample in samples):
        raise DataError(
            f"{collection.name}: none of the {len(split.train)} training images has any "
            "foreground: look at the values in the masks and at data.classes (`llm4seg-probe data "
            "check`)"
        )


def _help(config: Config, out: Path, *, resume: bool, embed_layer: bool) -> None:
    """Train on a machine that is not the first: the first one writes and scores."""
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = split_of(collection, config.data).to_dict()
    job = job_of(config, split, out, resume=resume, embed_layer=embed_layer)
    in_processes(config.compute, job)


def _last_state(out: Path) -> dict[str, Tensor]:
    """The weights in ``last.pt``, by their names in the network."""
    state = checkpoint.read(out / folder.LAST)["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in state.items()}


def _scores(
    config: Config, network: nn.Module, collection: Collection, split: Split, out: Path
) -> pd.DataFrame:
    """``scores.csv`` of the best checkpoint and of the network as it is, the last one."""
    network.eval()
    best = checkpoint.read_run(out / folder.BEST)["state"]
    states = {"best": best, "last": None}
    return score_checkpoints(states, network, config, collection, split, run=out.name)
