import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures.receptive_field import (
    distances,
    field_radius,
    radial_profile,
    raster_sides,
)
from llm4seg_probe.randomness import generator


def naive_radius(field: np.ndarray, centre: tuple[int, ...], share: float) -> float:
    total = field.sum()
    for radius in sorted({math.dist(place, centre) for place in np.ndindex(field.shape)}):
        inside = sum(
            field[place]
            for place in np.ndindex(field.shape)
            if math.dist(place, centre) <= radius + 1e-12
        )
        if inside >= share * total - 1e-9 * total:
            return radius
    raise AssertionError


@pytest.mark.parametrize("size", [(7, 9), (6, 6), (3, 4, 5)])
def test_radii_and_sides_are_what_loops_give(size: tuple[int, ...]) -> None:
    field = torch.rand(2, *size, generator=generator("test", "field", *size)).square()
    centre = tuple(length // 2 for length in size)
    place = int(np.ravel_multi_index(centre, size))
    for share in (0.1, 0.5, 0.9, 1.0):
        expected = [naive_radius(one.double().numpy(), centre, share) for one in field]
        assert field_radius(field, centre, share).tolist() == pytest.approx(expected)
    before, after, asymmetry = raster_sides(field, centre)
    for index, one in enumerate(field.double()):
        flat = one.flatten()
        assert before[index] == pytest.approx((flat[:place].sum() / flat.sum()).item())
        assert after[index] == pytest.approx((flat[place + 1 :].sum() / flat.sum()).item())
        first, last = flat[:place].mean().item(), flat[place + 1 :].mean().item()
        assert asymmetry[index] == pytest.approx((first - last) / (first + last))


def test_a_uniform_field_has_no_asymmetry_and_a_point_no_radius() -> None:
    uniform = torch.ones(1, 6, 6)
    assert raster_sides(uniform, (3, 3))[2].item() == 0
    assert raster_sides(uniform, (3, 3))[0].item() == pytest.approx(21 / 36)
    point = torch.zeros(1, 6, 6)
    point[0, 3, 3] = 2
    assert field_radius(point, (3, 3), 0.9).item() == 0
    assert math.isnan(raster_sides(point, (3, 3))[2].item())
    assert math.isnan(field_radius(torch.zeros(1, 6, 6), (3, 3), 0.5).item())


def test_the_profile_is_the_mean_of_each_ring() -> None:
    field = torch.rand(1, 7, 8, generator=generator("test", "profile"))
    rings = distances((7, 8), (3, 4)).round()
    expected = [field[0][rings == ring].mean().item() for ring in range(int(rings.max()) + 1)]
    assert radial_profile(field, (3, 4))[0].tolist() == pytest.approx(expected)
