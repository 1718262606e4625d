"""What the tests share: a tiny language model, a tiny data set, and runs trained on them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import typer.testing
from hypothesis import HealthCheck, settings
from PIL import Image
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.data.datasets import open_collection
from llm4seg_probe.models.network import build_network

# Toy networks gain nothing from a second thread, and lose much where another process has the core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How fast inputs are made says how busy the machine is, and nothing of the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# The command line is built once a process, and not for each of thousands of calls.
typer.testing._get_command = cache(typer.testing._get_command)

TINY_WIDTHS = (4, 8, 8, 8, 8)


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA of four random layers, width 32, as a folder that transformers wrote."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny-llm")
    config = LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=50, max_position_embeddings=128,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty 32-pixel images of a bright disc on noise, in a plain images/ + masks/ folder."""
    folder = tmp_path_factory.mktemp("tiny-data")
    for part in ("images", "masks"):
        (folder / part).mkdir()
    draw = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    for index in range(40):
        centre = draw.integers(10, 22, size=2)
        disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < draw.integers(25, 60)
        image = np.clip(draw.normal(80, 25, (32, 32)) + 90 * disc, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"disc{index:02d}.png")
        Image.fromarray(disc.astype(np.uint8) * 255).save(folder / "masks" / f"disc{index:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_config(tiny_llm: Path, tiny_data: Path) -> Config:
    """A run of seconds: two epochs of a narrow CMUNeXt on the tiny data."""
    return Config.model_validate(
        {
            "arm": "llm",
            "data": {"name": str(tiny_data), "split": "groups", "image_size": [32, 32]},
            "backbone": {"widths": TINY_WIDTHS},
            "booster": {"source": str(tiny_llm), "layer": 3},
            "training": {"epochs": 2},
            "compute": {"threads": 1, "device": "cpu"},
        }
    )


@dataclass(frozen=True)
class SmallRun:
    """What a probe needs of a run."""

    name: str
    dataset: str
    arm: str
    seed: int
    config: Config
    network: nn.Module


@pytest.fixture(scope="session")
def some_batches(tiny_config) -> list[Batch]:
    """Ten images of the tiny data in batches of four."""
    collection = open_collection(tiny_config.data.name, classes=tiny_config.data.classes)
    ids = tuple(sample.image for sample in collection.samples[:10])
    return list(batches(ImageDataset(collection, ids, tiny_config.data, augment_seed=None), 4))


@pytest.fixture(scope="session")
def run(tiny_config, some_batches) -> SmallRun:
    return _run(tiny_config, some_batches)


@pytest.fixture(scope="session")
def plain_run(tiny_config, some_batches) -> SmallRun:
    return _run(tiny_config.model_copy(update={"arm": "cnn"}), some_batches)


def _run(config: Config, some_batches: list[Batch]) -> SmallRun:
    """An untrained network whose batch statistics are those of the images, in eval mode."""
    network = build_network(config)
    with torch.no_grad():
        for _ in range(20):  # else its deep features hardly depend on the image
            network(some_batches[0].images)
    return SmallRun(f"{config.arm}-0", "discs", config.arm, 0, config, network.eval())


@pytest.fixture
def fingerprint():
    return _fingerprint


def _fingerprint(network: nn.Module) -> dict[str, object]:
    """Hooks, modes, gradients, weights and random state: what a probe must leave alone."""
    return {
        "hooks": [
            {kind: len(found) for kind, found in vars(module).items() if kind.endswith("_hooks")}
            for module in network.modules()
        ],
        "modes": [module.training for module in network.modules()],
        "requires_grad": [parameter.requires_grad for parameter in network.parameters()],
        "gradients": [parameter.grad is None for parameter in network.parameters()],
        "state": [tensor.sum().item() for tensor in network.state_dict().values()],
        "random": torch.get_rng_state().sum().item(),
        "grad_mode": torch.is_grad_enabled(),
    }


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> dict[str, Path]:
    """Checkpoints of one epoch by arm and seed, of images with whole tokens of foreground."""
    from llm4seg_probe.training.train import train

    folder = tmp_path_factory.mktemp("trained")
    changes = {
        "data": tiny_config.data.model_copy(update={"image_size": (64, 64)}),
        "training": tiny_config.training.model_copy(update={"epochs": 1}),
    }
    runs = (("cnn", 0), ("llm", 0), ("llm", 1), ("transformer", 0), ("transformer", 1))
    return {
        f"{arm}-{seed}": train(
            tiny_config.model_copy(update={**changes, "arm": arm, "seed": seed}),
            folder / f"{arm}-{seed}",
        )
        for arm, seed in runs
    }


@pytest.fixture(scope="session")
def spoken_llm(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny language model with a tokenizer beside it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    folder = tmp_path_factory.mktemp("spoken") / "llm"
    shutil.copytree(tiny_llm, folder)
    words = {f"w{number}": number for number in range(50)}
    Tokenizer(WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with one line that says what was not tested, and how to have it tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped]
    told = [f"{reasons.count(reason)} ({reason})" for reason in dict.fromkeys(reasons)]
    if "not slow" in terminalreporter.config.option.markexpr:
        told.append("what is slow (make test-slow)")
    if told:
        terminalreporter.write_line(f"Not tested: {'; '.join(told)}")
