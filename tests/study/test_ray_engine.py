"""The Ray engine on a real cluster of two nodes on this machine, one of them lost on the way."""

import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.study.analysis import Probes
from llm4seg_probe.study.engines.base import Engine, carry_out
from llm4seg_probe.study.engines.local import LocalEngine
from llm4seg_probe.study.engines.ray import RayEngine
from llm4seg_probe.study.pipeline import RunTask
from llm4seg_probe.study.runs import PlannedRun, plan
from llm4seg_probe.training import checkpoint

SEEDS = 4


def runs_of(config: Config, folder: Path) -> list[PlannedRun]:
    longer = config.model_copy(
        update={"training": config.training.model_copy(update={"epochs": 6})}
    )
    configs = [longer.model_copy(update={"arm": "cnn", "seed": seed}) for seed in range(SEEDS)]
    return plan(configs, ["data"] * SEEDS, folder)


def made(runs: list[PlannedRun], engine: Engine) -> None:
    carry_out([RunTask(run, Probes(gallery=1)) for run in runs], engine, "Runs")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own sockets and futures are not ours to close
def test_with_a_node_killed_in_the_middle_nothing_is_lost_and_the_bits_are_those_of_local(
    tiny_config: Config, tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster

    here, there = runs_of(tiny_config, tmp_path / "local"), runs_of(tiny_config, tmp_path / "ray")
    made(here, LocalEngine(1))
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def lose_the_second_node() -> None:
        while sum(run.share_done > 0 for run in there) < 2:  # until both nodes are at work
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=lose_the_second_node)
    killer.start()
    try:
        made(there, RayEngine(cluster.address))
    finally:
        killer.join()
        cluster.shutdown()
    assert not killer.is_alive()
    for a, b in zip(here, there, strict=True):
        states = [checkpoint.read_run(run.checkpoint)["state"] for run in (a, b)]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        for table in ("metrics.csv", "rank.csv", "maps.csv"):
            first, second_ = (pd.read_csv(run.path / table) for run in (a, b))
            pd.testing.assert_frame_equal(
                first.drop(columns="run", errors="ignore"),
                second_.drop(columns="run", errors="ignore"),
            )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_does_not_answer_is_one_line(tiny_config: Config, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        made(runs_of(tiny_config, tmp_path), RayEngine("127.0.0.1:1"))
