"""Objects as points: centres, maps, peaks, who hits whom, and how many are found."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from llm4seg_probe.measures.detection import (
    RATES,
    centre_map,
    centres_of,
    detection_scores,
    hits,
    peaks,
    threshold_at,
)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_map_of_centres_has_its_peaks_at_them(axes):
    mask = np.zeros((24,) * axes, bool)
    mask[(slice(3, 6),) * axes] = True
    mask[(slice(15, 20),) * axes] = True
    centres = centres_of(mask)
    np.testing.assert_allclose(centres, [[4] * axes, [17] * axes])
    heat = centre_map(centres, mask.shape, 2.0)
    assert heat.max() == 1.0
    np.testing.assert_allclose(heat[(4, *[6] * (axes - 1))], np.exp(-(axes - 1) * 4 / 8), rtol=1e-6)
    places, heights = peaks(torch.from_numpy(heat), 2)
    assert sorted(map(tuple, places[heights > 0.5])) == sorted(map(tuple, centres))
    assert heights.tolist()[:2] == [1.0, 1.0]


def test_components_that_touch_at_a_corner_are_one():
    mask = np.eye(4, dtype=bool)
    np.testing.assert_allclose(centres_of(mask), [[1.5, 1.5]])
    assert centres_of(np.zeros((4, 4), bool)).shape == (0, 2)


def test_peaks_are_the_local_maxima_highest_first():
    draw = np.random.default_rng(0)
    heat = ndimage.gaussian_filter(draw.random((40, 40)), 2).astype(np.float32)
    places, heights = peaks(torch.from_numpy(heat), 3)
    highest = ndimage.maximum_filter(heat, 7, mode="constant", cval=-np.inf) == heat
    assert {tuple(map(int, place)) for place in places} == set(
        zip(*np.nonzero(highest), strict=True)
    )
    assert (np.diff(heights) <= 0).all()
    assert len(peaks(torch.zeros(8, 8), 1)[0]) == 0


def test_of_equal_neighbours_one_is_a_peak():
    heat = torch.zeros(9, 9)
    heat[3:5, 3:5] = 1
    heat[3:5, 8] = 0.5
    places, heights = peaks(heat, 2)
    assert places.tolist() == [[3.0, 3.0], [3.0, 8.0]]
    assert heights.tolist() == [1.0, 0.5]


def test_one_to_one_and_the_surest_first():
    centres = np.array([[0.0, 0.0], [0.0, 6.0]])
    found = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 5.0], [9.0, 9.0]])
    # The second is nearer to the first centre, which is taken, and 4 from the other.
    assert hits(found, centres, 3.0).tolist() == [True, False, True, False]
    assert hits(found, centres, 4.0).tolist() == [True, True, False, False]
    assert hits(found[:0], centres, 3.0).tolist() == []
    assert hits(found, centres[:0], 3.0).tolist() == [False] * 4


def test_sensitivity_at_one_false_alarm_per_image_by_hand():
    heights = [np.array([0.9, 0.6, 0.3]), np.array([0.8, 0.7, 0.2])]
    right = [np.array([True, False, True]), np.array([False, False, True])]
    objects = [2, 2]
    # From 0.7 on there are 2 false alarms in 2 images, from 0.6 on 3: one object is found of four.
    assert threshold_at(heights, right, 1.0) == 0.7
    found = detection_scores(heights, right, objects)
    assert found["object_sensitivity"].tolist() == [0.5, 0.0]
    assert found["object_sensitivity"].mean() == 0.25
    by_hand = []
    for rate in RATES:
        best = 0.0
        for level in (0.9, 0.8, 0.7, 0.6, 0.3, 0.2):
            alarms = sum((~r & (h >= level)).sum() for h, r in zip(heights, right, strict=True))
            hit = sum((r & (h >= level)).sum() for h, r in zip(heights, right, strict=True))
            best = max(best, hit / 4) if alarms <= rate * 2 else best
        by_hand.append(best)
    assert found["object_froc"].mean() == pytest.approx(np.mean(by_hand))


def test_all_found_none_found_and_nothing_to_find():
    sure, nothing = np.array([0.9]), np.empty(0)
    yes, no = np.array([True]), np.array([False])
    assert detection_scores([sure], [yes], [1])["object_froc"].tolist() == [1.0]
    assert detection_scores([nothing], [nothing.astype(bool)], [1])["object_froc"].tolist() == [0.0]
    assert np.isnan(detection_scores([sure], [no], [0])["object_sensitivity"]).all()
    # Ten false alarms that are as sure as the object: it is not had at one per image.
    many = np.full(11, 0.9)
    assert detection_scores([many], [np.arange(11) == 0], [1])["object_froc"].tolist() == [0.0]
