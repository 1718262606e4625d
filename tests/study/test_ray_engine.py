"""The Ray engine on a real cluster of two nodes on this machine, one of them lost on the way."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch

from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError, UserError
from llm4seg_probe.study.analysis import Probes
from llm4seg_probe.study.engines import ray as ray_engine
from llm4seg_probe.study.engines.base import Engine, carry_out
from llm4seg_probe.study.engines.local import LocalEngine
from llm4seg_probe.study.engines.ray import RayEngine
from llm4seg_probe.study.pipeline import RunTask
from llm4seg_probe.study.runs import PlannedRun, plan
from llm4seg_probe.training import checkpoint

SEEDS = 4


@dataclass(frozen=True)
class OnGpu:
    """Waits until ``together`` tasks of its kind are at work, or for a second where it is one."""

    folder: Path
    name: str
    together: int
    gpu_memory_mb: float | None
    threads: int = 0
    memory_mb: float | None = None
    wants_gpu: bool = True

    @property
    def share_done(self) -> float:
        return float((self.folder / f"{self.name}.done").exists())

    def run(self) -> None:
        (self.folder / f"{self.name}.begun").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        deadline = time.monotonic() + (20 if self.together > 1 else 1)
        while time.monotonic() < deadline:
            begun = {path.stem for path in self.folder.glob("*.begun")}
            working = begun - {path.stem for path in self.folder.glob("*.done")}
            if self.together > 1 and len(begun) >= self.together:
                break
            if self.together == 1 and working != {self.name}:
                raise UserError(f"{self.name} is not alone: {sorted(working)}")
            time.sleep(0.05)
        else:
            if self.together > 1:
                raise UserError(f"{self.name} was left alone")
        (self.folder / f"{self.name}.done").touch()


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


@pytest.fixture
def gpu_of_10_gb(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster that says it has a GPU, whose memory is made up: the CPU stands in for it."""
    import ray
    from ray import cloudpickle

    monkeypatch.setattr(ray_engine, "_smallest_gpu_mb", lambda ray: 10_000.0)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_runs_share_a_gpu_as_far_as_its_memory_holds_them(
    tmp_path: Path, gpu_of_10_gb: None
) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    for folder in (small, large):
        folder.mkdir()
    carry_out([OnGpu(small, name, 2, 4_000.0) for name in "ab"], RayEngine(), "")
    assert {path.read_text() for path in small.glob("*.begun")} == {"0"}
    needs = {"of 5 GB": 5_000.0, "of 6 GB": 6_000.0, "that does not say": None}
    carry_out([OnGpu(large, name, 1, need) for name, need in needs.items()], RayEngine(), "")
    assert len(list(large.glob("*.done"))) == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_whose_gpus_do_not_say_gives_each_one_run(
    tmp_path: Path, gpu_of_10_gb: None, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.undo()  # no GPU is there: torch sees none, and says so
    carry_out([OnGpu(tmp_path, name, 1, 100.0) for name in "ab"], RayEngine(), "")
    assert "did not say how much memory they have" in capsys.readouterr().err
