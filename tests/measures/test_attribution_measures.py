import math

import numpy as np
import pytest
import torch
from scipy import stats

from llm4seg_probe.measures.attribution import (
    completeness_gap,
    inside_share,
    patches,
    rank_similarity,
    spread,
)
from llm4seg_probe.randomness import generator


def test_a_constant_map_has_the_share_of_the_area_at_any_grid() -> None:
    masks = torch.zeros(2, 12, 8)
    masks[0, 2:9, 1:4] = 1
    masks[1, :5, 3:] = 1
    for grid in ((12, 8), (6, 4), (3, 2), (1, 1)):
        maps = torch.full((2, *grid), -2.5)
        assert inside_share(maps, masks).tolist() == pytest.approx(
            masks.mean((1, 2)).tolist(), rel=1e-6
        )


def test_the_share_counts_both_signs_and_is_nan_for_nothing() -> None:
    maps = torch.tensor([[[4.0, -4.0], [-1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]).expand(2, -1, -1)
    found = inside_share(maps, masks)
    assert found[0] == pytest.approx(0.8)
    assert math.isnan(found[1])


def test_the_share_is_what_a_loop_over_pixels_gives_in_3d() -> None:
    draws = generator("test", "inside")
    maps = torch.randn(1, 2, 3, 2, generator=draws)
    masks = (torch.rand(1, 4, 6, 6, generator=draws) > 0.4).float()
    inside = 0.0
    for d, h, w in np.ndindex(4, 6, 6):
        share = abs(maps[0, d // 2, h // 2, w // 3].item()) / (2 * 2 * 3)
        inside += share * masks[0, d, h, w].item()
    assert inside_share(maps, masks).item() == pytest.approx(inside / maps.abs().sum().item())


def test_the_gap_is_relative_and_signed() -> None:
    found = completeness_gap(torch.tensor([2.0, -3.0, 1.0]), torch.tensor([1.0, -2.0, 0.0]))
    assert found[:2].tolist() == [1.0, -0.5]
    assert math.isnan(found[2])


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (5, 12)])
def test_spreading_keeps_the_sum_and_cells_equal_inside(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, 4, generator=generator("test", "spread"), dtype=torch.float64)
    found = spread(maps, size)
    assert found.shape == (2, *size)
    assert found.sum((1, 2)).tolist() == pytest.approx(maps.sum((1, 2)).tolist())
    assert len(found[0].unique()) == 12


def test_windows_tile_a_volume_and_the_last_may_be_smaller() -> None:
    found = patches((2, 5, 4), (1, 2, 4))
    assert torch.bincount(found.flatten()).tolist() == [8, 8, 4, 8, 8, 4]
    assert found[0, :, 0].tolist() == [0, 0, 1, 1, 2]
    assert found[1, 4, 3] == 5


def test_rank_similarity_is_spearmans_of_absolute_values_with_ties() -> None:
    draws = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 6, 7, generator=draws)
    others = (3 * torch.randn(3, 6, 7, generator=draws)).round()  # many equal values
    found = rank_similarity(maps, others)
    for one, other, value in zip(maps, others, found, strict=True):
        expected = stats.spearmanr(one.abs().flatten(), other.abs().flatten()).statistic
        assert value.item() == pytest.approx(expected)
    turned = torch.sign(others) * maps.abs().exp() * -2
    turned = turned.where(turned != 0, 2 * maps.abs().exp())
    assert rank_similarity(maps, turned).tolist() == pytest.approx([1, 1, 1])


def test_rank_similarity_of_a_constant_map_is_missing_and_grids_must_agree() -> None:
    ramp = torch.arange(12.0).view(1, 3, 4)
    broken = ramp.clone()
    broken[0, 1, 1] = torch.nan
    for other in (torch.ones(1, 3, 4), broken):
        assert rank_similarity(ramp, other).isnan().all()
    with pytest.raises(ValueError, match=r"\(1, 3, 4\) and \(1, 4, 3\): they must be on one grid"):
        rank_similarity(ramp, ramp.mT)
