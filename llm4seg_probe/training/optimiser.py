"""Optimiser and schedule of a run, with rates of their own for CNN, adapters and layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from llm4seg_probe.config import OptimiserConfig


def optimiser(config: OptimiserConfig, parts: Mapping[str, Sequence[Parameter]]) -> Optimizer:
    """The optimiser over the trainable parameters of each part that has any.

    ``parts`` are the groups of :func:`llm4seg_probe.models.network.parameter_groups`.
    """
    rates = {"cnn": config.lr, "adapters": config.adapters_lr, "layer": config.layer_lr}
    decays = {
        "cnn": config.weight_decay,
        "adapters": config.adapters_weight_decay,
        "layer": config.layer_weight_decay,
    }
    groups = [
        {
            "name": part,
            "params": list(parameters),
            "lr": config.lr if rates[part] is None else rates[part],
            "weight_decay": config.weight_decay if decays[part] is None else decays[part],
        }
        for part, parameters in parts.items()
        if parameters
    ]
    if config.name == "sgd":
        return SGD(groups, lr=config.lr, momentum=config.momentum)
    return AdamW(groups, lr=config.lr)


def schedule(config: OptimiserConfig, optimiser: Optimizer, steps: int) -> LRScheduler:
    """The learning-rate schedule over ``steps`` optimiser steps.

    ``polynomial`` is the published one, which sets the rate after each step from a counter not
    yet advanced: the first two steps run at the full rate, step s at (1 - (s - 1) / steps)^0.9.
    """
    if config.schedule == "one-cycle":
        peaks = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, max_lr=peaks, total_steps=steps)
    if config.schedule == "polynomial":
        return LambdaLR(optimiser, lambda step: (1 - max(step - 1, 0) / steps) ** 0.9)
    return LambdaLR(optimiser, lambda step: 1.0)
