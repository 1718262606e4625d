"""What the probe tests share: a small untrained network as a run, and its images."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch, ImageDataset, batches
from llm4seg_probe.data.opening import open_collection
from llm4seg_probe.models.network import build_network


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
