from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.llm.decoder import Decoder, load_decoder
from llm4seg_probe.paper.mixing import centre, nearness, reach

GRID = (3, 4)


@pytest.fixture(scope="module")
def decoder(tiny_llm: Path) -> Decoder:
    return load_decoder(BoosterConfig(source=str(tiny_llm), layer=3))


def test_a_causal_layer_reaches_the_token_and_what_follows_in_raster_order(
    decoder: Decoder,
) -> None:
    decoder.attention = "causal"
    reached = reach(decoder, GRID, 5)
    assert reached.shape == GRID
    assert (reached.ravel()[:5] == 0).all()
    assert (reached.ravel()[5:] > 0).all()
    assert reached.argmax() == 5
    decoder.attention = "bidirectional"
    assert (reach(decoder, GRID, 5) > 0).all()
    np.testing.assert_array_equal(reach(decoder, GRID, 5), reach(decoder, GRID, 5))


def test_the_published_position_is_the_cosine_of_the_raster_distance(decoder: Decoder) -> None:
    token = centre(GRID)
    distance = np.arange(12).reshape(GRID) - token
    found = nearness(decoder, GRID, token, "reference")
    np.testing.assert_allclose(found, np.cos(distance), atol=1e-6)
    np.testing.assert_allclose(nearness(decoder, GRID, token, "none"), 1)


def test_the_models_own_position_is_the_mean_over_its_frequencies(decoder: Decoder) -> None:
    frequencies = decoder.blocks[0].frequencies.numpy()
    found = nearness(decoder, GRID, 0, "rope")
    assert found[0, 3] == pytest.approx(np.cos(3 * frequencies).mean(), abs=1e-6)
    assert found[1, 0] == pytest.approx(np.cos(4 * frequencies).mean(), abs=1e-6)


def test_axial_positions_are_symmetric_about_the_token(decoder: Decoder) -> None:
    found = nearness(decoder, (3, 3), centre((3, 3)), "axial-rope")
    np.testing.assert_allclose(found, found[::-1, ::-1], atol=1e-6)
    assert found.max() == found[1, 1] == pytest.approx(1)
    assert math.isclose(found[0, 1], found[2, 1], abs_tol=1e-6)
