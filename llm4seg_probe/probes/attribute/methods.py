"""Attributions by captum at any site, and how much they tell about the network's answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llm4seg_probe.measures.attribution import patches, spread
from llm4seg_probe.probes.attribute import Options
from llm4seg_probe.randomness import generator

_AT_ONCE, _PIXELS_AT_ONCE = 32, 2**19
SENSITIVITY_RADIUS = 0.02
"""Largest change of a pixel for the sensitivity, in standard deviations of the image."""


def baseline_of(images: Tensor, options: Options) -> Tensor:
    """The baseline of each image (B, C, *size), of the same shape."""
    if options.baseline == "zero":
        return torch.zeros_like(images)
    axes = tuple(range(2, images.ndim))
    return images.mean(axes, keepdim=True).expand_as(images).clone()


@dataclass(frozen=True, eq=False)
class Score:
    """The number that is explained: the mean logit of one class over fixed pixels."""

    network: nn.Module
    region: Tensor
    """(*size), 1 where a pixel counts, else 0; not empty."""
    index: int
    log_odds: Callable[[Tensor], Tensor] = lambda logits: logits
    """Makes one channel per class of the network's output, (B, K, *size)."""

    def __call__(self, images: Tensor) -> Tensor:
        """One number per image (B, C, *size): (B,)."""
        logits = self.log_odds(self.network(images))[:, self.index].float()
        return (logits * self.region).flatten(1).sum(1) / self.region.sum()


Explain = Callable[[Score, nn.Module, Tensor, Tensor, Options], Tensor]


def _integrated_gradients(
    score: Score, gate: nn.Module, images: Tensor, baseline: Tensor, options: Options
) -> Tensor:
    from captum.attr import LayerIntegratedGradients

    return LayerIntegratedGradients(score, gate).attribute(
        images,
        baseline,
        n_steps=options.steps,
        internal_batch_size=_at_once(images),
    )


def _conductance(
    score: Score, gate: nn.Module, images: Tensor, baseline: Tensor, options: Options
) -> Tensor:
    from captum.attr import LayerConductance

    # Differences between steps are summed, so that the steps must reach both ends.
    return LayerConductance(score, gate).attribute(
        images,
        baseline,
        n_steps=options.steps,
        method="riemann_trapezoid",
        internal_batch_size=_at_once(images),
    )


def _gradcam(
    score: Score, gate: nn.Module, images: Tensor, baseline: Tensor, options: Options
) -> Tensor:
    from captum.attr import LayerGradCam

    return LayerGradCam(score, gate).attribute(images)


def _occlusion(
    score: Score, gate: nn.Module, images: Tensor, baseline: Tensor, options: Options
) -> Tensor:
    from captum.attr import LayerActivation, LayerFeatureAblation

    nothing = LayerActivation(score, gate).attribute(baseline)
    grid = nothing.shape[2:]
    # As many positions of the site as the window's pixels fill, one at least.
    sides = [
        max(1, round(options.window * length / pixels))
        for length, pixels in zip(grid, images.shape[2:], strict=True)
    ]
    windows = patches(grid, sides).to(images.device)
    changes = LayerFeatureAblation(score, gate).attribute(
        images,
        nothing,
        layer_mask=windows[None, None],
        perturbations_per_eval=max(1, _at_once(images) // len(images)),
    )
    # Each position of a window has the change that the whole window makes, in every channel.
    counts = torch.bincount(windows.flatten())[windows]
    return changes[:, :1] / counts


METHODS: dict[str, Explain] = {
    "integrated-gradients": _integrated_gradients,
    "conductance": _conductance,
    "gradcam": _gradcam,
    "occlusion": _occlusion,
}
ADDS_UP = ("integrated-gradients", "conductance", "occlusion")
"""Methods whose sum is to be f(x) − f(baseline): exactly, or in a linear network (occlusion)."""


def explain(
    method: str, score: Score, gate: nn.Module, images: Tensor, options: Options, baseline: Tensor
) -> Tensor:
    """Attribution of each position of a site, channels summed: (B, *grid), signed.

    images, baseline: (B, C, *size). With integrated gradients the site's activation moves in a
    straight line from the baseline's to the image's, and what goes around the site stays that of
    the image; with conductance the image moves, and everything with it. Occlusion puts the
    baseline's activation in place of one window at a time.
    """
    found = METHODS[method](score, gate, images, baseline, options)
    return found.detach().sum(1)


def infidelity(
    score: Score, image: Tensor, baseline: Tensor, attribution: Tensor, name: str, boxes: int
) -> tuple[float, float]:
    """Captum's infidelity of an attribution (1, *grid) on the pixels of one image (1, C, *size).

    Random boxes of an eighth to a half of each side are set to the baseline, the same for every
    run; infidelity is the mean squared error with which the attribution's sum over a box, after
    the best scaling, foretells the drop of f (Yeh et al., NeurIPS 2019). Returns it in squares
    of f, and as the share of the mean squared drop: 0, all foretold; 1, nothing.
    """
    from captum.metrics import infidelity as captum_infidelity

    values = spread(attribution, image.shape[2:])[:, None] / image.shape[1]
    values = values.expand_as(image).to(image.dtype)

    def found(attributions: Tensor, normalize: bool) -> float:
        draws = generator("attribution", "boxes", name)

        def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
            inside = torch.stack([_box(image.shape[2:], draws) for _ in images])
            inside = inside[:, None].to(images).expand_as(images)
            return inside, images + inside * (baseline - images)

        return captum_infidelity(
            score,
            perturb,
            image,
            attributions,
            n_perturb_samples=boxes,
            max_examples_per_batch=min(_at_once(image), boxes),
            normalize=normalize,
        ).item()

    error, drop = found(values, True), found(torch.zeros_like(image), False)
    return error, error / drop if drop else float("nan")


def sensitivity(
    explained: Callable[[Tensor], Tensor],
    image: Tensor,
    attribution: Tensor,
    name: str,
    changes: int,
) -> float:
    """Captum's sensitivity_max: how much an attribution changes when the image hardly does.

    ``explained`` gives the attribution (B, *grid) of images (B, C, *size); ``attribution`` is
    what it gave for the image.

    Uniform noise of at most ``SENSITIVITY_RADIUS`` standard deviations of the image, the same for
    every run; the largest relative change of the attribution (Euclidean norm) among the draws.
    """
    from captum.metrics import sensitivity_max

    draws = generator("attribution", "noise", name)

    def perturb(images: Tensor, radius: float) -> Tensor:
        noise = torch.rand(images.shape, generator=draws).to(images)
        return images + radius * (2 * noise - 1)

    def of(images: Any) -> tuple[Tensor]:  # captum reads a bare tensor as a row for each
        if isinstance(images, tuple):  # the image itself, first
            return (attribution,)
        return (explained(images),)

    radius = SENSITIVITY_RADIUS * image.std().item()
    return sensitivity_max(of, image, perturb, radius, n_perturb_samples=changes).item()


def _box(size: torch.Size, draws: torch.Generator) -> Tensor:
    inside = torch.ones(size)
    for axis, length in enumerate(size):
        share, start = torch.rand(2, generator=draws).tolist()
        side = max(1, round(length * (0.125 + 0.375 * share)))
        first = int(start * (length - side + 1))
        along = torch.zeros(length)
        along[first : first + side] = 1
        inside = inside * along.reshape([-1 if i == axis else 1 for i in range(len(size))])
    return inside


def _at_once(images: Tensor) -> int:
    """How many images pass the network together, so that memory stays bounded."""
    pixels = images.shape[2:].numel()
    return max(2 * len(images), min(_AT_ONCE, _PIXELS_AT_ONCE // pixels))
