from pathlib import Path

import pytest
import torch
from monai.losses.ds_loss import DeepSupervisionLoss
from torch import Tensor, nn

from llm4seg_probe import tables
from llm4seg_probe.config import Config, TrainingConfig
from llm4seg_probe.data.batches import ImageDataset
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.data.splits import split_of
from llm4seg_probe.errors import ConfigError, TrainingError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training.loss import SegmentationLoss, halving_mean, over_scales
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.task import SegmentationTask, scales_of
from llm4seg_probe.training.train import train


@pytest.fixture(scope="module")
def supervised(tiny_config: Config) -> Config:
    """One epoch of a toy DynUNet on 128-pixel images, its coarse outputs supervised."""
    values = tiny_config.model_dump()
    values["backbone"] |= {
        "name": "dynunet-2d", "widths": (4, 4, 6, 6, 8, 8, 8), "deep_supervision": True,
    }  # fmt: skip
    values["data"] |= {"image_size": (128, 128)}
    values["training"] |= {"epochs": 1, "batch_size": 16}
    return Config.model_validate(values)


def draws(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


@pytest.mark.parametrize("grid", [(16, 16), (8, 8, 8)])
def test_the_loss_over_scales_is_monai_s_with_weights_that_sum_to_one(grid: tuple) -> None:
    loss = SegmentationLoss(TrainingConfig())
    masks = (draws(2, 2, *grid) > 0).float()
    scales = [draws(2, 2, *(side // 2**k for side in grid)) for k in range(4)]
    theirs = DeepSupervisionLoss(loss, weight_mode="exp")(scales, masks)
    ours = halving_mean(over_scales(loss, scales, masks))
    torch.testing.assert_close(ours, theirs / (1 + 1 / 2 + 1 / 4 + 1 / 8))


def test_a_coarse_target_is_the_pixel_in_the_middle_of_each_block() -> None:
    masks = torch.zeros(1, 1, 9, 9)
    masks[0, 0, 4, 7] = 1
    seen: list[Tensor] = []

    def watch(logits: Tensor, wanted: Tensor) -> Tensor:
        seen.append(wanted)
        return wanted.mean()

    over_scales(watch, [torch.zeros(1, 1, 9, 9), torch.zeros(1, 1, 3, 3)], masks)
    assert seen[0] is masks
    assert seen[1].nonzero().tolist() == [[0, 0, 1, 2]]


def test_one_output_keeps_its_loss_to_the_bit() -> None:
    loss = SegmentationLoss(TrainingConfig())
    logits, masks = draws(2, 1, 8, 8), (draws(2, 1, 8, 8) > 0).float()
    assert torch.equal(halving_mean(over_scales(loss, [logits], masks)), loss(logits, masks))


def step_of(config: Config, network: nn.Module) -> tuple[SegmentationTask, tuple]:
    collection = open_collection(config.data.name, classes=config.data.classes)
    split = split_of(collection, config.data)
    images = ImageDataset(collection, split.train, config.data, augment_seed=None)
    batch = [torch.stack([images[i][part] for i in range(4)]) for part in (0, 1)]
    return SegmentationTask(config, network, images, images), (*batch, torch.arange(4))


def test_a_step_reaches_the_coarse_heads_and_logs_the_full_logits(supervised: Config) -> None:
    network = build_network(supervised)
    task, batch = step_of(supervised, network)
    loss = task._step(batch, "train", own=4)
    loss.backward()
    heads = [m for name, m in network.named_parameters() if name.startswith("deep_supervision_")]
    assert len(heads) > 4
    assert all(head.grad is not None and head.grad.abs().sum() > 0 for head in heads)
    images, masks, _ = batch
    losses = over_scales(task.loss, build_network(supervised)(images), masks)
    torch.testing.assert_close(loss, halving_mean(losses))
    (logged,) = task.epoch_log["train_loss"]
    torch.testing.assert_close(logged, losses[0].detach().expand(4))
    assert not torch.isclose(loss, losses[0])


def test_a_supervised_network_trains_selects_and_opens(supervised: Config, tmp_path: Path) -> None:
    path = train(supervised, tmp_path / "run")
    (row,) = tables.read_table(tmp_path / "run" / "metrics.csv", tables.METRICS).to_dict("records")
    assert all(value == value for value in row.values())
    scores = tables.read_table(tmp_path / "run" / "scores.csv", tables.SCORES)
    val = scores[(scores["split"] == "val") & (scores["checkpoint"] == "best")]
    assert len(val) > 0
    run = load(path)
    with torch.no_grad():
        logits = run.network(next(run.batches("test")).images)
    assert logits.shape[1:] == (1, 128, 128)


@pytest.mark.slow
def test_a_supervised_mednext_trains_in_3d(
    tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "cache"))
    values = tiny_config.model_dump()
    values["data"] |= {"name": "phantoms-shape-3d", "image_size": (32, 32, 32)}
    values["backbone"] = {
        "name": "mednext-s", "widths": (2, 4, 8, 16, 32), "deep_supervision": True,
    }  # fmt: skip
    values["training"] |= {"epochs": 1}
    run = load(train(Config.model_validate(values), tmp_path / "run"))
    with torch.no_grad():
        assert run.network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 1, 32, 32, 32)


MASKS = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("produced", "supervised", "message"),
    [
        ({"out": MASKS}, True, r"returns a dict in training; logits \(2, 1, 8, 8\) are expected"),
        ((MASKS, {"aux": MASKS}), True, "returns a tuple in training"),
        ((), True, "returns a tuple in training"),
        ((MASKS, MASKS), False, "returns a tuple in evaluation"),
        (MASKS[..., :4, :4], True, r"returns logits \(2, 1, 4, 4\) where \(2, 1, 8, 8\)"),
        ([MASKS[:, :0], MASKS], True, r"returns logits \(2, 0, 8, 8\) where"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(
    produced: object, supervised: bool, message: str
) -> None:
    with pytest.raises(TrainingError, match=message):
        scales_of(produced, tuple(MASKS.shape), supervised=supervised)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        (
            "data",
            {"image_size": (96, 96)},
            r"image_size is \[96, 96\], .* dynunet-2d needs multipl",
        ),
        ("data", {"image_size": (64, 64, 64)}, "backbone dynunet-2d is 2D. For 3D images there"),
        ("backbone", {"widths": (4, 8)}, "widths has 2 entries"),
        ("backbone", {"name": "cmunext", "widths": None}, "cmunext has one output; those that su"),
        ("compute", {"device": "cuda"}, "compute.device is .cuda., but torch finds none here"),
        ("compute", {"precision": "fp16"}, "precision is 'fp16', which needs a GPU, but compute"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_opened(
    section: str,
    change: dict,
    message: str,
    supervised: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    values = supervised.model_dump()
    values["data"] |= {"name": str(tmp_path / "no-such-folder")}
    values[section] |= change
    with pytest.raises(ConfigError, match=message):
        train(Config.model_validate(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()
