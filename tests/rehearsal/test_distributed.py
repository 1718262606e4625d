"""Several processes, rehearsed: torch's wrapping of every arm, and what is shared between cards.

torch's wrapping keeps its buckets in C++, by address, and refuses tensors without memory of their
own: on a card that is not there it cannot be made (torch 2.13). So it is made on the CPU, by gloo,
for every arm and backbone, and what a run adds for GPUs is rehearsed on the card beside it. Two
processes that do what one does are in ``tests/training/test_training_options.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed
from card import Card, OnCard
from steps import FAMILIES, Steps, batch_of, narrow
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of one process, for which torch wraps as for many."""
    torch.distributed.init_process_group(
        "gloo", init_method=(tmp_path / "group").as_uri(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:Grad strides do not match")
@pytest.mark.parametrize(
    "backbone",
    [pytest.param(name, marks=[pytest.mark.slow] * (name != "cmunext")) for name in FAMILIES],
)
def test_every_arm_is_wrapped_and_has_the_gradients_that_it_had(
    backbone: str, tiny_config: Config, one_process: None
) -> None:
    for arm in ARMS:
        steps = Steps(narrow(tiny_config, backbone, arm=arm), torch.device("cpu"))
        batch = batch_of(steps.config)
        steps.task.training_step(batch, 0).backward()
        plain = gradients(steps.task)
        steps.optimiser.zero_grad()
        steps.task.forward = steps.task.training_step
        wrapped = DistributedDataParallel(steps.task, find_unused_parameters=True)
        wrapped(batch, 0).backward()
        torch.testing.assert_close(gradients(steps.task), plain)


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("backbone", ["cmunext", "unet", "attention-unet"])
def test_shared_batch_statistics_compute_on_the_card(
    backbone: str, tiny_config: Config, card: Card
) -> None:
    steps = Steps(narrow(tiny_config, backbone))
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(steps.task.network)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in shared.modules())
    assert isinstance(steps.make(batch_of(steps.config)), OnCard)


def test_means_over_processes_are_taken_on_the_card(tiny_config: Config, card: Card) -> None:
    steps = Steps(narrow(tiny_config, "cmunext"))
    asked: list[Tensor] = []

    def of_two(sums: Tensor, reduce_op: str) -> Tensor:
        asked.append(sums)
        return 2 * sums

    steps.task._trainer = SimpleNamespace(world_size=2, strategy=SimpleNamespace(reduce=of_two))
    losses = torch.tensor([0.25, 0.75]).to(steps.task.device)
    assert steps.task._mean(losses) == 0.5
    assert isinstance(asked[0], OnCard)
