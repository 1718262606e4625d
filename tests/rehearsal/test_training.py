"""Training on a card, rehearsed: every arm and backbone, and what makes the processor wait."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from card import GPU, Card, OnCard
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from steps import FAMILIES, Steps, batch_of, narrow
from torch import Tensor, nn

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.errors import DataError, TrainingError
from llm4seg_probe.models.heads import output_channels
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training import loop
from llm4seg_probe.training.inference import logits_of
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.task import SegmentationTask
from llm4seg_probe.training.train import train


class _OfTheCard(CPUAccelerator):
    """An accelerator that takes the card as it is."""

    def setup_device(self, device: torch.device) -> None:
        assert device == GPU


@pytest.mark.parametrize(
    "backbone",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "cmunext")) for name in FAMILIES],
)
def test_a_step_of_every_arm_computes_on_the_card_and_waits_for_nothing(
    backbone: str, tiny_config: Config, card: Card
) -> None:
    for arm in ARMS:
        steps = Steps(narrow(tiny_config, backbone, arm=arm))
        card.waits.clear()
        loss = steps.make(batch_of(steps.config))
        assert not card.waits, f"{arm}: {dict(card.waits)}"
        assert isinstance(loss, OnCard)
        assert math.isfinite(loss.item())
        trained = [p for p in steps.task.network.parameters() if p.requires_grad]
        assert all(p.grad is None or isinstance(p.grad, OnCard) for p in trained)
        answers = logits_of(steps.task.network.eval(), batch_of(steps.config)[0], steps.config)
        assert answers.device == GPU


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": {"deep_supervision": True}},
        {"training": {"output": "softmax", "focal_weight": 1.0, "tversky_weight": 1.0}},
        {"training": {"optimiser": {"name": "sgd", "momentum": 0.9}}},
        {"booster": {"gradient_checkpointing": True}},
        {"booster": {"attention": "bidirectional", "position": "axial-rope"}},
    ],
    ids=["deep-supervision", "softmax", "sgd", "checkpointing", "axial-rope"],
)
def test_options_of_training_wait_for_nothing(
    fields: dict[str, Any], tiny_config: Config, card: Card
) -> None:
    backbone = "dynunet-2d" if "backbone" in fields else "cmunext"
    steps = Steps(narrow(tiny_config, backbone, **fields))
    card.waits.clear()
    steps.make(batch_of(steps.config))
    assert not card.waits


def test_a_window_slides_on_the_card(tiny_config: Config, card: Card) -> None:
    config = narrow(tiny_config, "cmunext", data={"sampling": "patches"})
    network = build_network(config).to(GPU).eval()
    with torch.no_grad():
        assert logits_of(network, torch.randn(1, 1, 50, 40), config).device == GPU


def test_what_waits_in_a_step_is_counted(
    tiny_config: Config, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = Steps(narrow(tiny_config, "cmunext"))
    asked = SegmentationTask._step

    def asking(task: SegmentationTask, *given: Any) -> Tensor:
        loss = asked(task, *given)
        assert loss.item() > 0  # as one does to print it
        return loss

    monkeypatch.setattr(SegmentationTask, "_step", asking)
    card.waits.clear()
    steps.make(batch_of(steps.config))
    assert dict(card.waits) == {"aten._local_scalar_dense.default": 1}


def test_a_lost_loss_is_told_when_the_epoch_ends(tiny_config: Config, card: Card) -> None:
    steps = Steps(narrow(tiny_config, "cmunext"))
    images, masks, index = batch_of(steps.config)
    steps.make((images, masks, index))
    steps.make((images * torch.nan, masks, index))
    with pytest.raises(TrainingError, match="the loss is nan at epoch 0, step 1; what was saved"):
        steps.task.epoch_row()


def test_overlapping_masks_are_refused_before_they_reach_the_card(
    tiny_config: Config, card: Card
) -> None:
    fields = {"data": {"classes": ("a", "b")}, "training": {"output": "softmax"}}
    steps = Steps(narrow(tiny_config, "cmunext", **fields))
    images, masks, index = batch_of(steps.config)
    with pytest.raises(DataError, match="masks of different classes overlap"):
        steps.make((images, torch.ones_like(masks), index))


def test_a_run_is_trained_scored_and_opened_on_the_card(
    tiny_config: Config, tmp_path: Path, card: Card, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = lightning.Trainer

    def on_the_card(*, accelerator: str, devices: object, **given: Any) -> lightning.Trainer:
        assert (accelerator, devices) == ("cuda", [0])
        strategy = SingleDeviceStrategy(device=GPU, accelerator=_OfTheCard())
        return usual(strategy=strategy, **given)

    monkeypatch.setattr(loop.lightning, "Trainer", on_the_card)
    training = {"epochs": 1, "average": 0.5}
    values = tiny_config.model_dump()
    values["training"] |= training
    values["compute"] |= {"device": "cuda:0"}
    before = card.convolutions
    path = train(Config.model_validate(values), tmp_path / "run")
    assert card.convolutions - before > 100
    opened = load(path, device="auto")
    assert opened.device == GPU
    assert all(isinstance(p, OnCard) for p in nn.Module.parameters(opened.network))
    assert (tmp_path / "run" / "scores.csv").is_file()
    assert output_channels(opened.config) == 1
