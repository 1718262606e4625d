"""Calibration of pixel probabilities: closed forms, an independent computation, the rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures.calibration import (
    BINS,
    calibration_scores,
    pooled_error,
    reliability,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(probabilities: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Calibration error and Brier score of one image and class, pixel by pixel."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for p, y in zip(probabilities.ravel().tolist(), truth.ravel().tolist(), strict=True):
        confidence, right = (p, y) if p >= 0.5 else (1 - p, not y)
        upper = next(m for m in range(1, 16) if confidence <= m / 15 + 1e-12)
        bins.setdefault(upper, []).append((confidence, right))
    error = (
        sum(abs(sum(c for c, _ in held) - sum(r for _, r in held)) for held in bins.values())
        / probabilities.size
    )
    return error, float(np.square(probabilities - truth).mean())  # fmt: skip


@pytest.mark.parametrize("grid", [(9, 11), (3, 4, 5)])
def test_scores_are_those_of_pixels_counted_one_by_one(grid) -> None:
    probabilities = drawn(3, 2, *grid)
    target = drawn(3, 2, *grid, seed=1) < 0.4
    found = calibration_scores(probabilities, target)
    for image in range(3):
        for index in range(2):
            expected = by_hand(
                probabilities[image, index].double().numpy(), target[image, index].numpy()
            )
            assert found["ece"][image, index].item() == pytest.approx(expected[0], abs=1e-6)
            assert found["brier"][image, index].item() == pytest.approx(expected[1], abs=1e-6)
    assert found["ece"].dtype == found["brier"].dtype == torch.float64


@pytest.mark.parametrize("p", [0.5, 0.55, 0.7, 0.8, 0.95, 1.0])
def test_of_one_probability_and_a_share_of_foreground_both_are_closed_forms(p: float) -> None:
    share = 0.25
    target = torch.arange(1000).view(1, 1, -1) < 1000 * share
    for stated in (p, 1 - p):
        found = calibration_scores(torch.full(target.shape, stated, dtype=torch.float64), target)
        right = share if stated >= 0.5 else 1 - share
        confidence = max(stated, 1 - stated)
        assert found["ece"].item() == pytest.approx(abs(confidence - right))
        expected = share * (1 - stated) ** 2 + (1 - share) * stated**2
        assert found["brier"].item() == pytest.approx(expected)


def test_a_calibrated_network_has_next_to_no_error_and_a_bolder_one_its_excess() -> None:
    p = drawn(1, 1, 400_000)
    target = drawn(1, 1, 400_000, seed=1) < p
    assert calibration_scores(p, target)["ece"].item() < 0.003
    # E[p (1 - p)] of a uniform p is a sixth.
    assert calibration_scores(p, target)["brier"].item() == pytest.approx(1 / 6, abs=0.002)
    certain = (p > 0.5).float()
    # It is right with the probability max(p, 1 - p), three quarters on average.
    assert calibration_scores(certain, target)["ece"].item() == pytest.approx(0.25, abs=0.003)


def test_an_empty_mask_is_scored_as_any_other() -> None:
    none = torch.zeros(1, 1, 10, 10, dtype=torch.bool)
    sure = torch.zeros(1, 1, 10, 10)
    assert all(score.item() == 0 for score in calibration_scores(sure, none).values())
    sure[..., 0, 0] = 1.0  # one false pixel of a hundred, of which it is certain
    found = calibration_scores(sure, none)
    # It falls into the bin of the right ones that are as certain.
    assert found["ece"].item() == pytest.approx(0.01)
    assert found["brier"].item() == pytest.approx(0.01)


def test_bins_are_closed_above_and_begin_at_a_half() -> None:
    edges = torch.tensor([0.5, 8 / 15, 8 / 15 + 1e-6, 14 / 15, 1.0], dtype=torch.float64)
    found = reliability(edges.view(1, 1, -1), torch.ones(1, 1, 5, dtype=torch.bool))
    assert found["pixels"][0, 0].nonzero().flatten().tolist() == [7, 8, 13, 14]
    assert found["pixels"][0, 0, 7].item() == 2
    # Confidence goes by the answer: not the class at 0.1 is as sure as the class at 0.9.
    low, high = (
        reliability(torch.tensor([[[p]]]), torch.tensor([[[p > 0.5]]])) for p in (0.1, 0.9)
    )
    assert torch.equal(low["pixels"], high["pixels"])
    assert torch.equal(low["right"], high["right"])


def test_sums_by_bin_add_up_over_images_and_errors_may_cancel() -> None:
    probabilities, target = drawn(4, 1, 30, 30), drawn(4, 1, 30, 30, seed=1) < 0.5
    sums = reliability(probabilities, target)
    assert sums["pixels"].shape == (4, 1, BINS)
    assert sums["pixels"].sum().item() == 3600
    by_image = pooled_error(**sums)
    torch.testing.assert_close(by_image, calibration_scores(probabilities, target)["ece"])
    pooled = pooled_error(**{name: part.sum(0) for name, part in sums.items()})
    whole = calibration_scores(probabilities.reshape(1, 1, -1), target.reshape(1, 1, -1))["ece"]
    assert pooled.item() == pytest.approx(whole.item())
    assert pooled.item() < by_image.mean().item()


def test_without_numbers_there_is_no_score() -> None:
    probabilities = drawn(2, 1, 5, 5)
    probabilities[1, 0, 2, 2] = torch.nan
    target = torch.zeros(2, 1, 5, 5, dtype=torch.bool)
    found = calibration_scores(probabilities, target)
    assert [math.isnan(found[name][1, 0]) for name in ("ece", "brier")] == [True, True]
    assert [math.isnan(found[name][0, 0]) for name in ("ece", "brier")] == [False, False]
    assert reliability(probabilities, target)["pixels"].sum((1, 2)).tolist() == [25, 0]


def test_what_is_no_probability_of_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masks are boolean, not torch\.float32"):
        calibration_scores(drawn(1, 1, 4), drawn(1, 1, 4))
    with pytest.raises(ValueError, match=r"shape \(1, 1, 4\), the mask \(1, 1, 5\)"):
        reliability(drawn(1, 1, 4), drawn(1, 1, 5) > 0.5)
