"""Every command with ``--device cuda``, rehearsed from end to end without a GPU."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from card import Card, OnCard, TwoDevices
from torch import nn
from typer.testing import CliRunner, Result

import llm4seg_probe as lp
from llm4seg_probe.cli.app import app
from llm4seg_probe.models.cmunext import CMUNeXt
from llm4seg_probe.probes import registry
from llm4seg_probe.training.predict import images_in

_SETTINGS = {
    "attribute": (
        *(
            "--target",
            "mask",
            "--images",
            "1",
            "--steps",
            "4",
            "--boxes",
            "2",
            "--window",
            "16",
            "--changes",
            "1",
        ),
        *("--methods", "integrated-gradients,conductance,gradcam,occlusion"),
    ),
    "field": ("--images", "2"),
    "denoise": ("--images", "2", "--draws", "2"),
}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def arguments_of(command: str, trained: dict[str, Path], folder: Path) -> tuple[object, ...]:
    """A small use of a command on finished runs."""
    runs = [trained["llm-0"]]
    if command == "swap":
        runs = [trained["llm-0"], trained["transformer-0"]]
    named = [text for path in runs for text in ("--ckpt", path)]
    shared = ("--device", "cuda", "--out", folder / command)
    if command == "lens":
        return (*named, "--source", folder / "llm", *shared)
    if command == "predict":
        return (*named, "--images", folder / "new", "--probabilities", *shared)
    return (*named, *_SETTINGS.get(command, ()), *shared)


@pytest.fixture
def folder(tiny_data: Path, spoken_llm: Path, tmp_path: Path) -> Path:
    """A folder with two new images, and a language model that knows its words."""
    (tmp_path / "llm").symlink_to(spoken_llm)
    (tmp_path / "new").mkdir()
    for path in list(images_in(tiny_data).values())[:2]:
        (tmp_path / "new" / path.name).write_bytes(path.read_bytes())
    return tmp_path


# The probe mixture is of arms that are not among these runs; tests/probes/test_mixture.py has it.
COMMANDS = ("evaluate", "predict", *(name for name in registry.probes() if name != "mixture"))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in ("evaluate", "rank")))
        for name in COMMANDS
    ],
)
def test_a_command_computes_on_the_card(
    command: str, trained: dict[str, Path], folder: Path, card: Card
) -> None:
    result = invoke(command, *arguments_of(command, trained, folder))
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    assert card.convolutions > 10  # it was there that the network ran


@pytest.mark.parametrize("command", COMMANDS)
def test_a_mistake_of_devices_ends_the_command(
    command: str,
    trained: dict[str, Path],
    folder: Path,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forward = CMUNeXt.forward

    def mistaken(network: CMUNeXt, images: torch.Tensor) -> torch.Tensor:
        logits = forward(network, images)
        return logits + torch.zeros(logits.shape)  # on the CPU, as one forgets to say where

    monkeypatch.setattr(CMUNeXt, "forward", mistaken)
    result = invoke(command, *arguments_of(command, trained, folder))
    assert result.exit_code == 1
    assert "TwoDevices" in result.output


def test_scores_on_the_card_are_those_on_the_processor(
    trained: dict[str, Path], tmp_path: Path, card: Card
) -> None:
    named = ("evaluate", "--ckpt", trained["llm-0"])
    for device in ("cpu", "cuda"):
        before = card.convolutions
        assert invoke(*named, "--device", device, "--out", tmp_path / device).exit_code == 0
        assert (card.convolutions > before) == (device == "cuda")
    tables = [pd.read_csv(tmp_path / device / "scores.csv") for device in ("cpu", "cuda")]
    pd.testing.assert_frame_equal(*tables, rtol=1e-3)


def test_a_network_of_one_s_own_is_probed_where_it_lies(
    trained: dict[str, Path], card: Card
) -> None:
    run = lp.load(trained["llm-0"], device="cuda")
    batch = next(iter(run.batches("val", size=2)))
    found = lp.rank(run.network, batch.images, sites=["before", "after"])
    assert card.convolutions > 10
    assert found.table["effective_rank"].gt(1).all()
    moved = lp.rank(run, device="cpu")
    assert moved.table["effective_rank"].gt(0).all()
    assert run.on("cpu").device == torch.device("cpu")


def test_the_card_is_one_device_and_its_values_are_not_at_hand(card: Card) -> None:
    image = torch.ones(2, 3).to("cuda:0")
    assert isinstance(image, OnCard)
    assert image.device == torch.device("cuda", 0)
    with pytest.raises(TwoDevices, match="expected all tensors to be on the same device"):
        image + torch.ones(2, 3)
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        image.numpy()
    assert not card.waits
    assert image.sum().item() == 6
    assert image.cpu().numpy().shape == (2, 3)
    assert image[image > 0].shape == (6,)
    assert sum(card.waits.values()) == 3
    layer = nn.Linear(3, 1).to(image.device)
    layer(image).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.device == image.device


def test_a_device_that_is_not_there_is_refused(trained: dict[str, Path], tmp_path: Path) -> None:
    named = ("evaluate", "--ckpt", trained["cnn-0"], "--out", tmp_path / "out")
    for device, said in (
        ("cuda:7", "device is 'cuda:7', but torch finds"),
        ("gpu", "device is 'gpu': give auto, cpu, cuda, cuda:1 or mps"),
    ):
        result = invoke(*named, "--device", device)
        assert result.exit_code == 2
        assert said in result.stderr
