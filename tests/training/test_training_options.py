from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor

from llm4seg_probe import tables
from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError, TrainingError
from llm4seg_probe.training import (
    checkpoint,
    run_folder,
)
from llm4seg_probe.training.compute import check_device
from llm4seg_probe.training.loggers import logger_names, loggers_given
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

Vary = Callable[..., Config]


@pytest.fixture(scope="module")
def plain(tiny_config: Config) -> Vary:
    """Configurations of a network without batch statistics; sections are merged."""

    def changed(**sections: dict) -> Config:
        values = tiny_config.model_dump()
        values |= {"arm": "cnn", "backbone": {"name": "toy_networks:WithoutStatistics"}}
        values["training"]["optimiser"] |= {"name": "sgd", "lr": 0.1, "schedule": "polynomial"}
        for section, fields in sections.items():
            values[section] = values[section] | fields
        return Config.model_validate(values)

    return changed


def trained(config: Config, out: Path) -> tuple[dict[str, Tensor], pd.DataFrame]:
    """Last weights, and the rows of the epochs."""
    train(config, out)
    rows = tables.read_table(out / run_folder.METRICS, tables.METRICS)
    return checkpoint.read(out / run_folder.LAST)["state_dict"], rows


def close(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("accumulate", "batch", "large"),
    [
        (4, 2, 8),
        (2, 5, 10),
    ],  # of 24 images: three whole steps; two, and one of a single small batch
)
def test_accumulated_batches_are_one_larger_batch(
    accumulate: int, batch: int, large: int, plain: Vary, tmp_path: Path
) -> None:
    few = plain(training={"accumulate": accumulate, "batch_size": batch})
    small, small_rows = trained(few, tmp_path / "accumulated")
    whole, whole_rows = trained(plain(training={"batch_size": large}), tmp_path / "large")
    close(small, whole)
    pd.testing.assert_frame_equal(small_rows, whole_rows, rtol=1e-5)
    steps = [checkpoint.read(tmp_path / name / run_folder.LAST)["global_step"] for name in
             ("accumulated", "large")]  # fmt: skip
    assert steps == [6, 6]


def test_early_stopping_ends_the_run_and_a_resumed_one_too(plain: Vary, tmp_path: Path) -> None:
    config = plain(
        training={"epochs": 30, "early_stopping": 3, "batch_size": 24, "dice_weight": 0.0},
        evaluation={"threshold": 0.999},  # never reached: no epoch is better than the first
    )
    _, rows = trained(config, tmp_path / "run")
    assert rows["epoch"].tolist() == [0, 1, 2, 3]
    assert checkpoint.read_run(tmp_path / "run" / run_folder.BEST)["epoch"] == 0
    (tmp_path / "run" / run_folder.ENVIRONMENT).unlink()  # as if killed before it was scored
    before = (tmp_path / "run" / run_folder.LAST).read_bytes()
    train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / run_folder.LAST).read_bytes() == before
    assert run_folder.is_done(tmp_path / "run")


def test_exclusive_classes_train_select_and_open(
    plain: Vary, tiny_data: Path, tmp_path: Path
) -> None:
    config = plain(training={"output": "softmax", "focal_weight": 0.5, "tversky_weight": 0.5})
    path = train(config, tmp_path / "run")
    content = checkpoint.read_run(path)
    assert content["state"]["layers.4.weight"].shape[0] == 2
    scores = tables.read_table(tmp_path / "run" / run_folder.SCORES, tables.SCORES)
    chosen = scores[(scores["checkpoint"] == "best") & (scores["split"] == "val")]
    assert chosen["iou"].mean() == pytest.approx(content["val_iou"], abs=1e-12)
    run = load(path, network="toy_networks:WithoutStatistics")
    with torch.no_grad():
        assert run.network(next(run.batches("test")).images).shape[1] == 2


def test_further_loggers_have_the_numbers_of_metrics_csv(plain: Vary, tmp_path: Path) -> None:
    config = plain(training={"loggers": {"CSVLogger": {"name": "log", "version": "v"}}})
    _, rows = trained(config, tmp_path / "run")
    logged = pd.read_csv(tmp_path / "run" / "log" / "v" / "metrics.csv")
    for name in ("train_loss", "train_iou", "val_loss", "val_iou", "learning_rate"):
        assert logged[name].dropna().tolist() == pytest.approx(rows[name].tolist()), name


def test_tensorboard_is_written_where_it_is_installed(plain: Vary, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an extra of its own: pip install '.[loggers]'")
    train(plain(training={"epochs": 1, "loggers": {"TensorBoardLogger": {}}}), tmp_path / "run")
    assert len(list((tmp_path / "run").rglob("events.out.tfevents.*"))) == 1


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        ({"TensorBordLogger": {}}, "unknown logger 'TensorBordLogger'. Did you mean 'TensorBoardL"),
        ({"Logger": {}}, "unknown logger 'Logger'"),
        ({"CSVLogger": {"folder": 1}}, "CSVLogger: unknown option 'folder'"),
        ({"NeptuneLogger": {}}, "unknown logger 'NeptuneLogger'"),
    ],
)
def test_a_logger_that_cannot_be_had_is_said(
    loggers: dict, message: str, plain: Vary, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(plain(training={"loggers": loggers}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_logger_without_its_package_says_what_to_install(plain: Vary, tmp_path: Path) -> None:
    from importlib.util import find_spec

    packages = {"WandbLogger": "wandb", "MLFlowLogger": "mlflow", "CometLogger": "comet_ml"}
    missing = [name for name, package in packages.items() if find_spec(package) is None]
    if not missing:
        pytest.skip("all of them are installed")
    assert set(missing) <= set(logger_names())
    with (
        loggers_given(missing),
        pytest.raises(ConfigError, match=f"{missing[0]} needs a package that is not installed"),
    ):
        train(plain(training={"loggers": {missing[0]: {}}}), tmp_path / "run")


@pytest.mark.slow
def test_two_processes_do_what_one_does(plain: Vary, tmp_path: Path) -> None:
    shared = {
        "batch_size": 7,
        "accumulate": 2,
    }  # the last batch has three images, the last step one
    one, one_rows = trained(plain(training=shared), tmp_path / "one")
    two, two_rows = trained(plain(training=shared, compute={"devices": 2}), tmp_path / "two")
    close(one, two)
    pd.testing.assert_frame_equal(one_rows, two_rows, rtol=1e-5)
    assert run_folder.is_done(tmp_path / "two")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }
    # An error of one process is that of the training, and what it began can be gone on with.
    with pytest.raises(TrainingError, match="a run is resumed as it was begun"):
        train(plain(training=shared), tmp_path / "two", resume=True)
    failing = plain(
        training={"epochs": 2, "batch_size": 12},
        backbone={"name": "toy_networks:Diverging", "options": {"step": 3}},
        compute={"devices": 2},
    )
    with pytest.raises(TrainingError, match=r"the loss is nan at epoch 1, step 0; what was saved"):
        train(failing, tmp_path / "failing")
    assert checkpoint.read(tmp_path / "failing" / run_folder.LAST)["global_step"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler about itself
def test_a_compiled_network_is_the_same_network(plain: Vary, tmp_path: Path) -> None:
    epoch = {"epochs": 1, "batch_size": 8}
    plainly, rows = trained(plain(training=epoch), tmp_path / "plain")
    compiled, others = trained(plain(training=epoch, compute={"compile": True}), tmp_path / "fast")
    close(plainly, compiled)
    pd.testing.assert_frame_equal(rows, others, rtol=1e-4)
    assert (
        load(tmp_path / "fast" / run_folder.BEST, network="toy_networks:WithoutStatistics").epoch
        == 0
    )


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"devices": 2, "sync_batchnorm": True}, "sync_batchnorm is true, but torch shares batch"),
        ({"devices": 3, "device": "cuda"}, "devices is 3, but there are 2 GPUs here"),
    ],
)
def test_devices_that_are_not_there_are_said(
    compute: dict, message: str, plain: Vary, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = compute.get("device") == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match=message):
        check_device(plain(compute=compute).compute)


def test_several_machines_need_to_find_each_other(
    plain: Vary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NODE_RANK", "1")
    with pytest.raises(ConfigError, match="nodes is 2, but MASTER_ADDR, MASTER_PORT is not set"):
        train(plain(compute={"nodes": 2}), tmp_path / "run")
    with pytest.raises(ValueError, match="batch_size is 8 for 12 processes"):
        plain(compute={"devices": 3, "nodes": 4})
