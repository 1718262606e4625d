"""A backbone up to its bottleneck, with one answer for the whole image: pooled, then linear.

The encoder is that of the segmentation network, module by module and, for a seed, weight by
weight; what only the decoder needs is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.errors import SiteError, first_line
from llm4seg_probe.models.insertion import blank, find_module, on_a_grid, undisturbed

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
