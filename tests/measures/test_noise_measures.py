"""Signal and noise of features: closed forms, what maps do to them, and a computation in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures.noise import (
    decibels,
    displacement,
    noise_variance,
    principal_directions,
    signal_variance,
)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(
    images: int = 12, draws: int = 6, tokens: int = 40, channels: int = 8, *, seed: int = 0,
    signal: float = 2.0, noise: float = 1.0,
) -> torch.Tensor:  # fmt: skip
    """Features of independent signal and noise of these SDs."""
    of_images = signal * normal(images, 1, tokens, channels, seed=seed)
    return of_images + noise * normal(images, draws, tokens, channels, seed=seed + 1)


def ratio(draws: torch.Tensor) -> float:
    return (signal_variance(draws).sum() / noise_variance(draws).sum()).item()


def test_it_is_the_analysis_of_variance_of_one_factor() -> None:
    draws = made(images=5, draws=3, tokens=4, channels=2)
    signal, noise = signal_variance(draws), noise_variance(draws)
    x = draws.numpy()
    images, count, tokens, channels = x.shape
    for token in range(tokens):
        for channel in range(channels):
            cells = x[:, :, token, channel]
            grand = cells.mean()
            between = within = 0.0
            for row in cells:
                between += count * (row.mean() - grand) ** 2 / (images - 1)
                within += sum((value - row.mean()) ** 2 for value in row) / (images * (count - 1))
            assert noise[:, token, channel].mean().item() == pytest.approx(within)
            own = signal[:, token, channel].mean().item()
            assert own == pytest.approx((between - within) / count)


def test_the_mean_over_draws_alone_would_count_a_share_of_the_noise_as_signal() -> None:
    draws = made(images=40, draws=4, tokens=400, channels=8, signal=0.5, noise=2.0)
    assert signal_variance(draws).mean().item() == pytest.approx(0.25, abs=0.01)
    assert noise_variance(draws).mean().item() == pytest.approx(4, rel=0.01)
    uncorrected = draws.mean(1).var(0).mean().item()
    assert uncorrected == pytest.approx(0.25 + 4 / 4, abs=0.02)


def test_without_signal_it_is_zero_on_average_and_not_above() -> None:
    found = signal_variance(made(images=6, draws=3, tokens=2000, signal=0.0))
    spread = found.mean(0).std().item() / math.sqrt(found[0].numel())
    assert abs(found.mean().item()) < 4 * spread
    assert (found < 0).any()


def test_each_images_share_is_unbiased_where_noise_differs_between_images() -> None:
    signal = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    deviations = torch.tensor([3.0, 0.1, 1.0], dtype=torch.float64)
    draws = signal[:, None, None, None] + deviations[:, None, None, None] * normal(3, 4, 60000, 1)
    expected = 3 / 2 * (signal - signal.mean()).square()
    found = signal_variance(draws).mean((1, 2))
    errors = signal_variance(draws).std((1, 2)) / math.sqrt(60000)
    assert ((found - expected).abs() < 4 * errors).all()


@pytest.mark.parametrize("neighbours", [2, 4, 9])
def test_the_average_of_k_neighbours_gains_k_in_variance_and_its_root_in_amplitude(
    neighbours: int,
) -> None:
    # Neighbours have the same signal, as in a smooth image, and noise of their own.
    of_images = normal(12, 1, 300, 1, 4, seed=5).expand(-1, 6, -1, neighbours, -1)
    draws = of_images + normal(12, 6, 300, neighbours, 4, seed=6)
    before, after = ratio(draws.flatten(2, 3)), ratio(draws.mean(3))
    assert after / before == pytest.approx(neighbours, rel=0.05)
    assert math.sqrt(after / before) == pytest.approx(math.sqrt(neighbours), rel=0.03)


def test_an_orthogonal_map_and_a_scale_gain_nothing() -> None:
    draws = made()
    turn = torch.linalg.qr(normal(8, 8, seed=9)).Q
    assert ratio(3 * draws @ turn) == pytest.approx(ratio(draws), rel=1e-12)


def test_a_projection_on_the_signals_directions_gains_the_share_of_noise_left_out() -> None:
    channels, held = 10, 3
    basis = torch.linalg.qr(normal(channels, channels, seed=3)).Q
    directions = basis[:, :held]
    of_images = normal(30, 1, 400, held, seed=4) @ directions.mT
    draws = of_images + normal(30, 6, 400, channels, seed=5)
    kept = noise_variance(draws @ directions).sum() / noise_variance(draws).sum()
    assert kept.item() == pytest.approx(held / channels, rel=0.02)
    gain = ratio(draws @ directions) / ratio(draws)
    assert gain == pytest.approx(1 / kept.item(), rel=0.02)
    # The directions are found again in the features without noise.
    found = principal_directions(of_images[:, 0], held)
    assert (found.mT @ directions).norm().square().item() == pytest.approx(held)
    assert ratio(draws @ found) == pytest.approx(ratio(draws @ directions))


def test_variances_along_all_directions_add_up_to_those_of_the_channels() -> None:
    draws, clean = made(), made(noise=0.0)[:, 0]
    directions = principal_directions(clean, 99)
    assert directions.shape == (8, 8)
    torch.testing.assert_close(directions.mT @ directions, torch.eye(8, dtype=torch.float64))
    for measure in (signal_variance, noise_variance):
        along = measure(draws @ directions).sum(-1)
        torch.testing.assert_close(along, measure(draws).sum(-1))
    centred = (clean - clean.mean(0)).flatten(0, 1).numpy()
    largest = np.linalg.svd(centred, compute_uv=False)[0] ** 2
    assert np.square(centred @ directions[:, 0].numpy()).sum() == pytest.approx(largest)


def test_a_shift_that_all_draws_share_is_no_noise_and_is_seen_as_displacement() -> None:
    clean = normal(12, 40, 8, seed=7)
    draws = clean[:, None] + 0.5 + normal(12, 6, 40, 8, seed=8)
    assert displacement(draws, clean).mean().item() == pytest.approx(0.25, abs=0.03)
    assert noise_variance(draws).mean().item() == pytest.approx(1, rel=0.05)
    unmoved = clean[:, None] + normal(12, 6, 40, 8, seed=8)
    assert displacement(unmoved, clean).mean().item() == pytest.approx(0, abs=0.03)


def test_decibels_are_of_variances() -> None:
    found = decibels(torch.tensor([10.0, 2.0, 0.0, torch.nan]))
    assert found[:2].tolist() == pytest.approx([10, 10 * math.log10(2)])
    assert found[2:].isnan().all()


def test_what_cannot_be_measured_says_why() -> None:
    with pytest.raises(ValueError, match=r"draws are \(I, K, N, C\), these are \(2, 3\)"):
        noise_variance(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="takes at least two draws"):
        noise_variance(torch.zeros(2, 1, 3, 4))
    with pytest.raises(ValueError, match="takes at least two images"):
        signal_variance(torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="the same images, tokens and channels"):
        displacement(torch.zeros(2, 2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="of two or more images"):
        principal_directions(torch.zeros(1, 3, 4), 2)
