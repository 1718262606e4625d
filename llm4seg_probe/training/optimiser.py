"""Optimiser and schedule of a run, with rates of their own for CNN, adapters and layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch.nn import Parameter
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from llm4seg_probe.config import OptimiserConfig
from llm4seg_probe.errors import ConfigError


def optimiser(config: OptimiserConfig, parts: Mapping[str, Sequence[Parameter]]) -> Optimizer:
    """The optimiser over the trainable parameters of each part that has any.

    ``parts`` are the groups of :func:`llm4seg_probe.models.network.parameter_groups`. Weight decay
    is a term of the gradient in ``sgd`` and ``adam``, and a shrinkage of its own in ``adamw``. The
    gates have none: it would draw a mixture's weights towards uniform ones, and close a gate.
    """
    rates = {
        "cnn": config.lr,
        "adapters": config.adapters_lr,
        "layer": config.layer_lr,
        "gates": config.gates_lr,
    }
    decays = {
        "gates": 0.0,
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
        return SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    # One kernel instead of a loop over the parameters, which takes a twentieth of a small step.
    # Lightning refuses to clip gradients for it under mixed precision.
    fused = config.gradient_clip is None
    return (Adam if config.name == "adam" else AdamW)(groups, lr=config.lr, fused=fused)


def schedule(config: OptimiserConfig, optimiser: Optimizer, steps: int) -> LRScheduler:
    """The learning-rate schedule over ``steps`` optimiser steps.

    With a warm-up of W steps the rate rises linearly, step s (from 0) at (s + 1) / (W + 1) of the
    full one, and the schedule runs over the steps that are left. Raises ConfigError where none
    are.
    """
    if config.schedule == "one-cycle":
        peaks = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, max_lr=peaks, total_steps=steps)
    warm = config.warmup_steps
    if warm >= steps:
        raise ConfigError(
            f"training.optimiser.warmup_steps is {warm}, but the whole training has {steps} steps: "
            "lower it, or raise training.epochs"
        )
    share = _SHARES[config.schedule]

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        return share(step - warm, steps - warm, config.power)

    return LambdaLR(optimiser, rate)


def polynomial(step: int, steps: int, power: float) -> float:
    """The published schedule: (1 - (s - 1) / steps)^power at step s, the full rate at step 0.

    It sets the rate after each step from a counter not yet advanced, so that the first two steps
    run at the full rate.
    """
    return float((1 - max(step - 1, 0) / steps) ** power)


def cosine(step: int, steps: int, power: float) -> float:
    """Half a cosine from the full rate to (almost) none; ``power`` plays no part."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def constant(step: int, steps: int, power: float) -> float:
    """The full rate."""
    return 1.0


_SHARES: dict[str, Callable[[int, int, float], float]] = {
    "polynomial": polynomial,
    "cosine": cosine,
    "constant": constant,
}
