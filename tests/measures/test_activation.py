from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.errors import UserError
from llm4seg_probe.measures.activation import (
    activation_iou,
    activation_map,
    inverted,
    map_auroc,
    map_contrast,
    map_iou,
    map_measures,
    map_noise,
    map_sharpness,
    otsu_levels,
    resized_maps,
)
from llm4seg_probe.measures.tokens import foreground_pixels, foreground_tokens
from llm4seg_probe.probes.maps import MAPS


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def square(size: int = 16, low: int = 4, high: int = 12) -> torch.Tensor:
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, low:high, low:high] = True
    return mask


# An independent computation with numpy and loops alone.


def bilinear_by_hand(small: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Between pixel centres; at the border the nearest row or column."""
    large = np.empty(size)
    for row in range(size[0]):
        for column in range(size[1]):
            y = np.clip((row + 0.5) * small.shape[0] / size[0] - 0.5, 0, small.shape[0] - 1)
            x = np.clip((column + 0.5) * small.shape[1] / size[1] - 0.5, 0, small.shape[1] - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, small.shape[0] - 1), min(left + 1, small.shape[1] - 1)
            upper = small[top, left] * (1 - (x - left)) + small[top, right] * (x - left)
            lower = small[bottom, left] * (1 - (x - left)) + small[bottom, right] * (x - left)
            large[row, column] = upper * (1 - (y - top)) + lower * (y - top)
    return large


def map_by_hand(tokens: np.ndarray, grid: tuple[int, int], reduction: str) -> np.ndarray:
    if reduction == "mean_abs":
        strength = np.array([sum(abs(v) for v in token) / len(token) for token in tokens])
    elif reduction == "l2":
        strength = np.array([math.sqrt(sum(v * v for v in token)) for token in tokens])
    elif reduction == "mean":
        strength = np.array([sum(token) / len(token) for token in tokens])
    else:
        centred = tokens - tokens.mean(0)
        scores = centred @ np.linalg.svd(centred, full_matrices=False)[2][0]
        falls = np.corrcoef(scores, np.abs(tokens).mean(1))[0, 1] < 0
        strength = -scores if falls else scores
    return ((strength - strength.min()) / (strength.max() - strength.min())).reshape(grid)


def iou_by_hand(values: np.ndarray, mask: np.ndarray, level: float) -> float:
    above = values > level
    return (above & mask).sum() / (above | mask).sum()


def otsu_by_hand(values: np.ndarray) -> float:
    best, best_level = -1.0, values.max()
    for level in np.unique(values)[:-1]:
        low, high = values[values <= level], values[values > level]
        variance = low.size * high.size * (low.mean() - high.mean()) ** 2
        if variance > best:
            best, best_level = variance, level
    return best_level


def measures_by_hand(values: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    inner, outer = values[mask], values[~mask]
    wins = sum((a > outer).sum() + 0.5 * (a == outer).sum() for a in inner)
    squares = ((inner - inner.mean()) ** 2).sum() + ((outer - outer.mean()) ** 2).sum()
    drops = []
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            for other in ((row + 1, column), (row, column + 1)):
                if other[0] < mask.shape[0] and other[1] < mask.shape[1]:
                    here, there = mask[row, column], mask[other]
                    if here and not there:
                        drops.append(values[row, column] - values[other])
                    if there and not here:
                        drops.append(values[other] - values[row, column])
    return {
        "auroc": wins / (inner.size * outer.size),
        "contrast": (inner.mean() - outer.mean()) / math.sqrt(squares / (values.size - 2)),
        "noise": outer.std(),
        "sharpness": sum(drops) / len(drops),
    }


@pytest.mark.parametrize("reduction", ["mean_abs", "l2", "mean", "pca1"])
@pytest.mark.parametrize(("grid", "channels"), [((4, 5), 7), ((3, 3), 30)])
def test_map_and_measures_agree_with_numpy_alone(reduction, grid, channels):
    tokens = draw(3, math.prod(grid), channels)
    masks = draw(3, 12, 15, seed=1) > 0.8
    maps = activation_map(tokens, grid, reduction)
    large = resized_maps(maps, (12, 15))
    measured = map_measures(large, masks)
    for image in range(3):
        small = map_by_hand(tokens[image].double().numpy(), grid, reduction)
        assert maps[image].numpy() == pytest.approx(small, abs=1e-9)
        values, mask = bilinear_by_hand(small, (12, 15)).round(12), masks[image].numpy()
        assert large[image].numpy() == pytest.approx(values, abs=1e-9)
        expected = measures_by_hand(values, mask)
        found = {name: value[image].item() for name, value in measured.items()}
        assert found == pytest.approx(expected, abs=1e-9)
        levels = {"otsu": otsu_by_hand(values), 0.3: 0.3}
        for threshold, level in levels.items():
            iou = activation_iou(tokens, masks, grid=grid, threshold=threshold, reduction=reduction)
            assert iou[image].item() == pytest.approx(iou_by_hand(values, mask, level), abs=1e-9)
        levels = [-1.0, *np.unique(values)]
        best = max(iou_by_hand(values, mask, level) for level in levels)
        assert map_iou(large, masks, "oracle")[image].item() == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("steps", [2, 5, 1000])
def test_otsu_and_ties_agree_with_the_slow_twin(steps):
    values = (draw(4, 9, 9).sigmoid() * steps).round().double() / steps
    masks = draw(4, 9, 9, seed=1) > 0
    for image in range(4):
        one = values[image].numpy()
        assert otsu_levels(values)[image].item() == pytest.approx(otsu_by_hand(one))
        expected = measures_by_hand(one, masks[image].numpy())["auroc"]
        assert map_auroc(values, masks)[image].item() == pytest.approx(expected)


# Closed forms.


@pytest.mark.parametrize("threshold", ["otsu", 0.5, "oracle"])
def test_a_map_equal_to_the_mask_is_perfect(threshold):
    mask = square()
    tokens = mask.flatten(1)[..., None].float()
    assert activation_iou(tokens, mask, grid=(16, 16), threshold=threshold).item() == 1
    maps = activation_map(tokens, (16, 16))
    found = {name: value.item() for name, value in map_measures(maps, mask).items()}
    assert found["auroc"] == 1
    assert found["noise"] == 0
    assert found["sharpness"] == 1
    assert math.isnan(found["contrast"])  # nothing varies within
    assert not inverted(maps, mask).item()


def test_an_inverted_map_is_named_and_the_published_reduction_cannot_tell():
    mask = square()
    maps = (~mask).double()
    assert inverted(maps, mask).item()
    assert map_auroc(maps, mask).item() == 0
    assert map_sharpness(maps, mask).item() == -1
    assert map_iou(maps, mask).item() == 0
    signed = torch.where(mask, -1.0, 0.2).flatten(1)[..., None]
    assert not inverted(activation_map(signed, (16, 16), "mean_abs"), mask).item()
    assert inverted(activation_map(signed, (16, 16), "mean"), mask).item()


def test_noise_gives_chance():
    masks = (draw(200, 16, 16) > 1).bool()
    maps = activation_map(draw(200, 256, 1, seed=1), (16, 16), "mean")
    assert map_auroc(maps, masks).mean().item() == pytest.approx(0.5, abs=0.01)
    assert map_contrast(maps, masks).mean().item() == pytest.approx(0, abs=0.02)
    assert map_sharpness(maps, masks).mean().item() == pytest.approx(0, abs=0.01)


def test_contrast_and_noise_of_two_levels_with_spread():
    mask = torch.tensor([[[True, True, False, False]]])
    maps = torch.tensor([[[0.8, 1.0, 0.0, 0.2]]], dtype=torch.float64)
    # Means 0.9 and 0.1; squared deviations 0.02 and 0.02 over 2 + 2 - 2 degrees of freedom.
    assert map_contrast(maps, mask).item() == pytest.approx(0.8 / math.sqrt(0.02))
    assert map_noise(maps, mask).item() == pytest.approx(0.1)


def test_sharpness_of_a_ramp_is_its_slope():
    ramp = (torch.arange(10, 0, -1).double() / 10).expand(1, 6, 10)
    mask = torch.zeros(1, 6, 10, dtype=torch.bool)
    mask[..., :5] = True
    assert map_sharpness(ramp, mask).item() == pytest.approx(0.1)


def test_reductions_of_one_token():
    tokens = torch.tensor([[[3.0, -4.0], [0.0, 0.0], [1.0, 1.0]]])
    assert activation_map(tokens, (3,), "mean_abs")[0].tolist() == pytest.approx([1, 0, 2 / 7])
    assert activation_map(tokens, (3,), "l2")[0].tolist() == pytest.approx([1, 0, math.sqrt(2) / 5])
    assert activation_map(tokens, (3,), "mean")[0].tolist() == pytest.approx([0, 1 / 3, 1])


# Rules for what is degenerate.


def test_images_without_foreground_are_nan_in_everything():
    masks = torch.cat([torch.zeros_like(square()), square()])
    maps = activation_map(draw(2, 256, 3), (16, 16))
    for threshold in ("otsu", 0.5, "oracle"):
        assert map_iou(maps, masks, threshold).isnan().tolist() == [True, False]
    for name, value in map_measures(maps, masks).items():
        assert value.isnan().tolist() == [True, False], name
    assert inverted(maps, masks)[0].item() is False


def test_images_of_nothing_but_foreground_have_an_iou_alone():
    masks = torch.ones_like(square())
    maps = activation_map(draw(1, 256, 3), (16, 16))
    assert map_iou(maps, masks, "oracle").item() == 1
    for name, value in map_measures(maps, masks).items():
        assert value.isnan().item(), name


def test_a_constant_map_has_nothing_above_its_level():
    tokens, mask = torch.ones(1, 256, 4), square()
    assert activation_map(tokens, (16, 16)).eq(0).all()
    assert activation_iou(tokens, mask, grid=(16, 16)).item() == 0
    assert activation_iou(tokens, mask, grid=(16, 16), threshold="oracle").item() == 0.25
    assert map_auroc(activation_map(tokens, (16, 16)), mask).item() == 0.5


@pytest.mark.parametrize("reduction", ["mean_abs", "pca1"])
def test_features_that_are_not_finite_are_nan_and_disturb_nobody(reduction):
    tokens, masks = draw(2, 256, 3), square().expand(2, -1, -1)
    tokens[0, 17, 1] = torch.inf
    maps = activation_map(tokens, (16, 16), reduction)
    for value in [map_iou(maps, masks), *map_measures(maps, masks).values()]:
        assert value.isnan().tolist() == [True, False]


def test_classes_of_a_mask_are_taken_together_and_volumes_are_measured():
    tokens = draw(2, 8, 5)
    masks = draw(2, 3, 4, 4, 4, seed=1) > 0.8
    apart = activation_iou(tokens, masks.float(), grid=(2, 2, 2))
    together = activation_iou(tokens, masks.any(1), grid=(2, 2, 2))
    assert apart.shape == (2,)
    assert torch.equal(apart, together)
    assert map_sharpness(masks.any(1).double(), masks.any(1)).tolist() == [1, 1]


def test_tokens_are_foreground_from_half_their_area_on():
    mask = torch.zeros(1, 1, 4, 6)
    mask[..., :2, :2] = 1  # all of the first token
    mask[..., 2:, 1:3] = 1  # half of two tokens
    assert foreground_tokens(mask, (2, 3)).tolist() == [[True, False, False, True, True, False]]
    volume = torch.zeros(1, 2, 2, 2, 2)
    volume[:, 1, 0] = 1  # half of the volume, in the second class
    assert foreground_tokens(volume, (2, 1, 1)).tolist() == [[True, False]]
    assert foreground_tokens(volume, (1, 1, 1)).tolist() == [[True]]


def test_what_does_not_fit_is_refused():
    tokens, mask = draw(1, 256, 3), square()
    with pytest.raises(UserError) as error:
        activation_iou(tokens, mask, grid=(16, 16), reduction="mean-abs")
    assert str(error.value) == (
        "unknown reduction 'mean-abs'. Did you mean 'mean_abs'? Valid: mean_abs, mean, l2, pca1"
    )
    with pytest.raises(UserError) as error:
        activation_iou(tokens, mask, grid=(16, 16), threshold="otsus")
    assert str(error.value) == (
        "unknown threshold 'otsus'. Did you mean 'otsu'? Valid: otsu, oracle, "
        "or a level between 0 and 1"
    )
    with pytest.raises(ValueError, match=r"shape \(1, 16, 16\) do not fit a grid of 3 axes"):
        foreground_pixels(mask, 3)


def test_the_measures_are_columns_of_the_table():
    found = map_measures(activation_map(draw(1, 256, 3), (16, 16)), square())
    assert ["iou", *found] == list(MAPS.values)
