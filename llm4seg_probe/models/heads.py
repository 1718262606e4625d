"""Output channels and the masks that they decide; or one answer for the whole image.

With ``training.output: sigmoid`` there is one channel per class, and each decides for itself
whether a pixel is of its class. With ``softmax`` the background comes first, then the classes,
and every pixel belongs to the one with the largest logit.

A network that answers for the whole image ends at its bottleneck, pooled, then linear. The encoder
is that of the segmentation network, module by module and, for a seed, weight by weight; what only
the decoder needs is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.config import Config
from llm4seg_probe.errors import SiteError, TrainingError, first_line
from llm4seg_probe.models.insertion import blank, find_module, on_a_grid, undisturbed


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


def why_no_numbers(logits: Tensor, config: Config) -> str:
    """``NaN`` or ``infinite`` where an answer says nothing; empty where it is numbers.

    With ``softmax`` a logit of minus infinity rules a class out, and is a number like others.

    >>> why_no_numbers(torch.tensor([[[0.0, torch.inf]]]), Config())
    'infinite'
    """
    if no_answer(logits, config).any():
        return "NaN"
    if config.training.output == "softmax":
        return ""
    return "infinite" if logits.isinf().any() else ""


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


BACKBONE = "backbone"
"""Name of the backbone inside a :class:`PooledNetwork`: its modules' paths begin with it."""


class _Reached(BaseException):
    """The features are there: what comes after them in the backbone's own pass is not run.

    No Exception, so that no network from outside takes it for a failure of its own.
    """

    def __init__(self, produced: Any) -> None:
        self.produced = produced


class PooledNetwork(nn.Module):
    """Images (B, C, *grid) to logits (B, out_channels, 1, 1), or (B, out_channels, 1, 1, 1) in 3D.

    ``last`` is the module of the backbone after whose output the pass ends, and ``output`` which
    entry of it is meant. What the features there do not depend on is taken out of the backbone.
    Raises SiteError where the module gives nothing on a grid.
    """

    def __init__(
        self,
        backbone: nn.Module,
        last: str,
        output: int | str | None,
        input_shape: Sequence[int],
        out_channels: int,
    ) -> None:
        super().__init__()
        find_module(backbone, last)
        self.backbone = backbone
        self._last, self._output = last, output
        self.head = nn.Linear(self._without_the_rest(input_shape), out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Mean of the features over their grid, through the linear layer."""
        features = self._features(images)
        answer: Tensor = self.head(features.flatten(2).mean(-1))
        return answer[(..., *[None] * (features.ndim - 2))]

    def _features(self, images: Tensor) -> Tensor:
        def stop(module: nn.Module, inputs: Any, produced: Any) -> None:
            raise _Reached(produced)

        # Looked up in each pass: a booster takes the module's place.
        hook = find_module(self.backbone, self._last).register_forward_hook(stop)
        try:
            self.backbone(images)
        except _Reached as reached:
            return on_a_grid(reached.produced, self._last, self._output)
        finally:
            hook.remove()
        raise SiteError(f"module '{self._last}' is not called in a forward pass: name another one")

    def _without_the_rest(self, input_shape: Sequence[int]) -> int:
        """Take out what the features do not depend on; returns their channels."""
        parameters = dict(self.backbone.named_parameters())
        try:
            with undisturbed(self.backbone), torch.enable_grad():
                features = self._features(blank(self.backbone, input_shape))
                found = torch.autograd.grad(
                    features.sum(), list(parameters.values()), allow_unused=True
                )
        except SiteError:
            raise
        except Exception as error:  # of whatever kind: the network may be from outside
            raise SiteError(
                f"the network fails on an image of input_shape {tuple(input_shape)}: "
                f"{first_line(error)}"
            ) from error
        used = {
            parameter
            for parameter, gradient in zip(parameters.values(), found, strict=True)
            if gradient is not None
        }
        for parent in list(self.backbone.modules()):
            for name, child in parent.named_children():
                own = list(child.parameters())
                if own and not used.intersection(own):
                    parent.register_module(name, nn.Identity())
        return features.shape[1]
