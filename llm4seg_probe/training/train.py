"""One run from its configuration to its folder."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pandas as pd
from torch import Tensor, nn

from llm4seg_probe import progress, storage, tables
from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.data.collection import Collection
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import Split
from llm4seg_probe.data.subsets import told, training_split
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.models.devices import device_named
from llm4seg_probe.models.network import build_network, load_portable_state
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)
from llm4seg_probe.training.averaging import STATE_KEY, average_in
from llm4seg_probe.training.compute import check_device, computing, failures_named, in_memory_format
from llm4seg_probe.training.distributed import in_processes, job_of, node_rank
from llm4seg_probe.training.environment import environment, peak_memory_mb
from llm4seg_probe.training.evaluation import score_checkpoints
from llm4seg_probe.training.loggers import loggers_of
from llm4seg_probe.training.loop import fit_network
from llm4seg_probe.training.tasks.registry import part_of


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
        return out / run_folder.BEST
    with run_folder.locked(out, wait=False), computing(config.compute), failures_named(config):
        _train(config, out, resume=resume, embed_layer=embed_layer)
    return out / run_folder.BEST


def make(config: Config, out: Path) -> None:
    """Make the run of a folder that several sweeps may share, from where it stands.

    A process that makes it already is waited for; a finished run is left as it is, and one that
    lacks files is made again. Raises UserErrors as :func:`train` does.
    """
    check_device(config.compute)
    if node_rank(config.compute) > 0:
        train(config, out, resume=run_folder.can_go_on(out))
        return
    with run_folder.locked(out, wait=True):
        if run_folder.is_done(out):
            return
        resume = run_folder.can_go_on(out)
        if not resume and out.exists():
            shutil.rmtree(out)  # stopped before its first epoch was whole, or files were lost
        with computing(config.compute), failures_named(config):
            _train(config, out, resume=resume, embed_layer=False)


def _train(config: Config, out: Path, *, resume: bool, embed_layer: bool) -> None:
    started = time.monotonic()
    # First, because it is quick to say what of the configuration does not fit together.
    network = in_memory_format(build_network(config), config)
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = training_split(collection, config)
    part_of(config).check(config, collection, split)
    run_folder.prepare(out, config, resume=resume)
    if sentence := told(collection, split, config):
        progress.say(f"{out.name}: {sentence}")
    split.save(out / run_folder.SPLIT)
    options = {"resume": resume, "embed_layer": embed_layer}
    if config.compute.processes > 1:
        in_processes(config.compute, job_of(config, split.to_dict(), out, **options))
        load_portable_state(network, _last_state(out))
    else:
        fit_network(config, network, collection, split, out, **options)
    tables.write_table(
        _scores(config, network, collection, split, out), out / run_folder.SCORES, tables.SCORES
    )
    about = environment() | {
        "wall_seconds": round(time.monotonic() - started, 3),
        "peak_memory_mb": peak_memory_mb(),
        "data_fingerprint": collection.fingerprint,
        "split_fingerprint": split.fingerprint,
        "training_images": len(split.train),
    }
    storage.write_json(out / run_folder.ENVIRONMENT, about)


def _help(config: Config, out: Path, *, resume: bool, embed_layer: bool) -> None:
    """Train on a machine that is not the first: the first one writes and scores."""
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = training_split(collection, config).to_dict()
    job = job_of(config, split, out, resume=resume, embed_layer=embed_layer)
    in_processes(config.compute, job)


def _last_state(out: Path) -> dict[str, Tensor]:
    """The weights in ``last.pt`` by their names in the network, averaged where they were."""
    last = checkpoint.read(out / run_folder.LAST)
    state = {name.removeprefix("network."): tensor for name, tensor in last["state_dict"].items()}
    averaging = last["callbacks"].get(STATE_KEY)
    return state if averaging is None else state | average_in(averaging)


def _scores(
    config: Config, network: nn.Module, collection: Collection, split: Split, out: Path
) -> pd.DataFrame:
    """``scores.csv`` of the best checkpoint and of the network as it is, the last one."""
    network.to(device_named(config.compute.device)).eval()
    best = checkpoint.read_run(out / run_folder.BEST)["state"]
    states = {"best": best, "last": None}
    return score_checkpoints(states, network, config, collection, split, run=out.name)
