"""Output channels: their number, and the masks that they decide.

With ``training.output: sigmoid`` there is one channel per class, and each decides for itself
whether a pixel is of its class. With ``softmax`` the background comes first, then the classes,
and every pixel belongs to the one with the largest logit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from llm4seg_probe.config import Config
from llm4seg_probe.errors import TrainingError


def output_channels(config: Config) -> int:
    """Channels of the network's output: K classes, and with ``softmax`` the background."""
    return len(config.data.classes) + (config.training.output == "softmax")


def class_logits(logits: Tensor, config: Config) -> Tensor:
    """Log-odds of each class, (B, K, *grid), from logits (B, output_channels, *grid).

    With ``sigmoid`` the logits themselves; with ``softmax`` each class against all the rest,
    ln(p / (1 - p)), so that the sigmoid of either is the probability of the class.
    """
    if config.training.output == "sigmoid":
        return logits
    channels = range(logits.shape[1])
    others = [
        logits[:, [other for other in channels if other != channel]].logsumexp(1)
        for channel in channels[1:]
    ]
    return logits[:, 1:] - torch.stack(others, 1)


def probabilities(logits: Tensor, config: Config) -> Tensor:
    """Probability of each class, (B, K, *grid) in float32, from logits of the network."""
    if config.training.output == "sigmoid":
        return torch.sigmoid(logits.float())
    return logits.float().softmax(1)[:, 1:]


def no_answer(logits: Tensor, config: Config) -> Tensor:
    """Whether the network gave no number (NaN) for a pixel of an image: (B, K), boolean."""
    return probabilities(logits, config).isnan().flatten(2).any(-1)


def decided(logits: Tensor, config: Config) -> Tensor:
    """Boolean masks (B, K, *grid) from logits (B, output_channels, *grid).

    With ``sigmoid`` where the probability is above ``evaluation.threshold``; with ``softmax``
    where the class is the most probable, background included (of equals the first). Raises
    TrainingError for NaN: a comparison with it is false, so that it would pass for an empty mask,
    which is right wherever there is nothing to find.
    """
    masks, missing = answers(logits, config)
    if missing.any():
        raise TrainingError(
            f"the network gives no numbers (NaN) for {int(missing.any(1).sum())} of {len(masks)} "
            "image(s): that is no mask; train it again with a lower training.optimiser.lr"
        )
    return masks


def answers(logits: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """Masks as :func:`decided`, empty where there is no number, and where that is (B, K)."""
    missing = no_answer(logits, config)
    if config.training.output == "sigmoid":
        return probabilities(logits, config) > config.evaluation.threshold, missing
    winner = logits.argmax(1, keepdim=True)
    shape = (1, -1, *[1] * (logits.ndim - 2))
    masks = winner == torch.arange(1, logits.shape[1], device=logits.device).view(shape)
    return masks, missing
