"""The methods of the probe `attribute` against known answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from llm4seg_probe.activations.gate import gated
from llm4seg_probe.activations.passes import evaluating
from llm4seg_probe.probes.attribute import Options
from llm4seg_probe.probes.attribute.methods import (
    METHODS,
    Score,
    baseline_of,
    explain,
    infidelity,
    sensitivity,
)
from llm4seg_probe.randomness import generator, seeded


class Skipped(nn.Module):
    """Two ways to the logits: through ``inner`` and its activation, and straight on."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Conv2d(2, 3, 3, padding=1)
        self.activation = activation
        self.outer = nn.Conv2d(3, 1, 3, padding=1)
        self.straight = nn.Conv2d(2, 1, 1)

    def forward(self, images):
        return self.outer(self.activation(self.inner(images))) + self.straight(images)


def skipped(activation: nn.Module) -> nn.Module:
    with seeded("test", "skipped"):
        return Skipped(activation).eval()


def images(count: int = 1, side: int = 8) -> torch.Tensor:
    return torch.randn(count, 2, side, side, generator=generator("test", "attributed"))


def region(side: int = 8) -> torch.Tensor:
    found = torch.zeros(side, side)
    found[2:6, 3:7] = 1
    return found


def attributed(
    network: nn.Module, site: str, method: str, options: Options, shown: torch.Tensor
) -> torch.Tensor:
    with evaluating(network), gated(network, site) as gate:
        score = Score(network, region(), 0)
        return explain(method, score, gate, shown, options, baseline_of(shown, options))


def gap(network: nn.Module, site: str, method: str, options: Options) -> float:
    shown = images()
    with torch.no_grad():
        score = Score(network, region(), 0)
        difference = score(shown) - score(baseline_of(shown, options))
    return float((attributed(network, site, method, options, shown).sum() - difference).abs())


def linear_weights(network: nn.Conv2d) -> torch.Tensor:
    """What one pixel of each channel adds to the score, by a transposed convolution."""
    marked = region()[None, None] / region().sum()
    return functional.conv_transpose2d(marked, network.weight, padding=1).detach()


@pytest.mark.parametrize("method", ["integrated-gradients", "conductance", "occlusion"])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_a_linear_network_gives_its_exact_weights(method: str, baseline: str) -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images(2)
    options = Options(baseline=baseline, window=1, steps=5)
    expected = (linear_weights(network) * (shown - baseline_of(shown, options))).sum(1)
    found = attributed(network, "input", method, options, shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_occlusion_of_a_linear_network_shares_each_windows_sum() -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images()
    single = (linear_weights(network) * shown).sum(1)
    expected = functional.avg_pool2d(single, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    found = attributed(network, "input", "occlusion", Options(window=4), shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_gradients_integrated_over_the_image_add_up_the_better_the_more_steps() -> None:
    network = skipped(nn.GELU())
    gaps = [
        gap(network, "input", "integrated-gradients", Options(steps=steps)) for steps in (1, 3, 12)
    ]
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]
    assert gaps[2] < 1e-5
    coarse, fine = (
        gap(network, "input", "conductance", Options(steps=steps)) for steps in (8, 128)
    )
    assert fine < coarse / 8


def test_at_an_inner_site_the_sum_is_the_share_that_passes_through_it() -> None:
    network = skipped(nn.GELU())
    shown = images()
    with torch.no_grad():
        passed = network.outer(network.activation(network.inner(shown)))
        nothing = network.outer(network.activation(network.inner(torch.zeros_like(shown))))
        share = ((passed - nothing)[:, 0] * region()).sum() / region().sum()
    for site in ("inner", "activation", "outer"):
        found = attributed(network, site, "integrated-gradients", Options(steps=24), shown)
        assert found.sum().item() == pytest.approx(share.item(), abs=1e-5)
    assert gap(network, "outer", "integrated-gradients", Options()) > 0.01
    for method in ("integrated-gradients", "conductance"):
        assert gap(network, "logits", method, Options()) < 1e-5


def test_gradcam_is_mean_gradient_times_activation() -> None:
    network = skipped(nn.GELU())
    shown = images(2)
    features = network.inner(shown).detach().requires_grad_()
    logits = network.outer(network.activation(features))
    (logits[:, 0] * region()).flatten(1).sum(1).div(region().sum()).sum().backward()
    expected = (features.grad.mean((2, 3), keepdim=True) * features).sum(1).detach()
    found = attributed(network, "inner", "gradcam", Options(), shown)
    assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_change_in_place_after_the_site_changes_nothing(method: str) -> None:
    plain, in_place = skipped(nn.ReLU()), skipped(nn.ReLU(inplace=True))
    options = Options(window=2, steps=6)
    for site in ("inner", "activation", "input"):
        expected, found = (
            attributed(network, site, method, options, images()) for network in (plain, in_place)
        )
        assert torch.equal(found, expected), site


def test_sites_inside_the_booster_are_grids(run, some_batches) -> None:
    shown = some_batches[0].images[:1]
    found = {}
    for site in ("before", "tokens", "layer", "after"):
        with evaluating(run.network), gated(run.network, site) as gate:
            score = Score(run.network, some_batches[0].masks[0, 0], 0)
            options = Options(steps=12)
            found[site] = explain(
                "integrated-gradients", score, gate, shown, options, torch.zeros_like(shown)
            )
    assert {tuple(one.shape) for one in found.values()} == {(1, 2, 2)}
    # An adapter is linear: what passes it is the same before and after, position by position.
    for left, right in (("before", "tokens"), ("layer", "after")):
        assert found[left].numpy() == pytest.approx(found[right].numpy(), abs=1e-5)


def test_exact_attributions_foretell_every_box_and_wrong_ones_do_not() -> None:
    with seeded("test", "linear"):
        network = nn.Conv2d(2, 1, 3, padding=1).eval()
    shown = images()
    nothing = torch.zeros_like(shown)
    score = Score(network, region(), 0)
    with torch.no_grad():
        # Channels share a map's value, so only a picture of equal channels is told exactly.
        shown = shown[:, :1].expand_as(shown).contiguous()
        exact = (linear_weights(network) * shown).sum(1)
        for scale in (1, -7):
            _, unexplained = infidelity(score, shown, nothing, scale * exact, "a", 16)
            assert unexplained < 1e-6
        error, unexplained = infidelity(score, shown, nothing, exact.flip(1), "a", 16)
        assert 0.05 < unexplained <= 1
        assert infidelity(score, shown, nothing, exact.flip(1), "a", 16) == (error, unexplained)
        error, unexplained = infidelity(score, shown, nothing, 0 * exact, "a", 16)
        assert unexplained == pytest.approx(1)


def test_sensitivity_is_the_largest_relative_change() -> None:
    shown = images()
    same = torch.ones(1, 3, 3)
    assert sensitivity(lambda seen: same.expand(len(seen), 3, 3), shown, same, "a", 4) == 0
    found = sensitivity(lambda seen: seen.sum(1), shown, shown.sum(1), "a", 4)
    draws = generator("attribution", "noise", "a")
    noise = 0.02 * shown.std() * (2 * torch.rand(4, *shown.shape[1:], generator=draws) - 1)
    expected = (noise.sum(1).flatten(1).norm(dim=1) / shown.sum(1).norm()).max()
    assert found == pytest.approx(expected.item(), rel=1e-4)
