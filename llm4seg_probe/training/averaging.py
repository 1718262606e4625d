"""An exponential average of the weights, which takes their place wherever they are judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.network import portable_state

STATE_KEY = "WeightAverage"


class WeightAverage(lightning.Callback):
    """Average of the weights after each step, a step's share ``decay`` of that of the next.

    After n steps it is the sum of decay^(n - k) w_k over the steps k, divided by the sum of the
    shares: initial weights have none. Running statistics of batch normalisation are averaged alike;
    whole numbers are those of the last step, and a frozen layer is left alone. The average is
    in the network's place during validation, and inside :meth:`in_place`.

    Weights are exchanged in place, so that optimiser and network keep their tensors.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self._network = network
        self._weights = weights_of(network)
        self._average = {name: tensor.clone() for name, tensor in self._weights.items()}
        self._steps = 0

    @property
    def state_key(self) -> str:
        """Its name among a checkpoint's callbacks."""
        return STATE_KEY

    def on_train_start(self, *args: Any) -> None:
        """Follow the weights to the device where they are trained."""
        self._follow()

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: Any, **kwargs: Any) -> None:
        """Take the weights in where the optimiser has made a step."""
        if trainer.global_step == self._steps:
            return
        self._steps = trainer.global_step
        share = (1 - self.decay) / (1 - self.decay**self._steps)
        torch._foreach_lerp_(list(self._average.values()), list(self._weights.values()), share)

    def on_validation_start(self, *args: Any) -> None:
        """Put the average into the network's place."""
        self._exchange()

    def on_validation_end(self, *args: Any) -> None:
        """Put the weights back, to be trained further."""
        self._exchange()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average into the network's place for a block."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def keep(self) -> None:
        """Leave the average in the network's place: training is over."""
        self._follow()  # Lightning moves them back to the CPU
        self._exchange()

    def _follow(self) -> None:
        self._weights = weights_of(self._network)
        self._average = {
            name: tensor.to(self._weights[name].device) for name, tensor in self._average.items()
        }

    def _exchange(self) -> None:
        for weights, average in zip(self._weights.values(), self._average.values(), strict=True):
            held = weights.clone()
            weights.copy_(average)
            average.copy_(held)

    def state_dict(self) -> dict[str, Any]:
        """The average and its steps, for resuming."""
        return {"steps": self._steps, "average": self._average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the average of the steps before the interruption. Raises CheckpointError."""
        average = average_in(state_dict)
        for name, own in self._average.items():
            if name not in average or average[name].shape != own.shape:
                raise CheckpointError(
                    f"the average of the weights does not fit the network: {name}"
                )
            own.copy_(average[name])
        self._steps = state_dict["steps"]


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The floating tensors of a network's state but those of a frozen layer, sharing memory."""
    return {
        name: tensor
        for name, tensor in portable_state(network).items()
        if tensor.is_floating_point()
    }


def average_in(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The average in the state of :class:`WeightAverage`. Raises CheckpointError without one."""
    average, steps = state.get("average"), state.get("steps")
    if not isinstance(average, dict) or not isinstance(steps, int) or steps < 1:
        raise CheckpointError("there is no average of the weights to go on from")
    finite = all(
        isinstance(tensor, Tensor) and bool(torch.isfinite(tensor).all())
        for tensor in average.values()
    )
    if not finite:
        raise CheckpointError("the average of the weights is no numbers")
    return average
