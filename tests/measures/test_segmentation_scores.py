from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from llm4seg_probe.measures.segmentation import (
    empty_masks,
    iou_reference,
    overlap_scores,
    segmentation_scores,
)
from llm4seg_probe.scores import OF_PROBABILITIES
from llm4seg_probe.tables import SCORES

SPACINGS = {2: (0.7, 1.3), 3: (2.5, 0.7, 0.9)}


def disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2


def pairs() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Prediction and mask: random and degenerate, 2D and 3D."""
    draw = np.random.default_rng(0)
    none, full = np.zeros((12, 15), bool), np.ones((12, 15), bool)
    point, corner = none.copy(), none.copy()
    point[4, 7], corner[11, 14] = True, True
    line = none.copy()
    line[:, 3] = True
    specks = draw.random((40, 40)) < 0.02
    volume = draw.random((6, 7, 8)) < 0.3
    hollow, voxel = np.zeros((7, 8, 9), bool), np.zeros((7, 8, 9), bool)
    hollow[1:6, 1:7, 1:8], voxel[0, 7, 4] = True, True
    hollow[2:5, 3:6, 3:6] = False
    return {
        "discs": (disc(40, (18, 20), 9), disc(40, (21, 19), 11)),
        "discs with specks": (disc(40, (18, 20), 9) ^ specks, disc(40, (21, 19), 11)),
        "noise": (draw.random((20, 30)) < 0.5, draw.random((20, 30)) < 0.2),
        "the same": (disc(30, (15, 15), 8), disc(30, (15, 15), 8)),
        "apart": (disc(40, (8, 8), 5), disc(40, (31, 30), 6)),
        "full and point": (full, point),
        "point and corner": (point, corner),
        "line and full": (line, full),
        "full and full": (full, full),
        "one row": (draw.random((1, 9)) < 0.5, draw.random((1, 9)) < 0.5),
        "volume": (volume, np.roll(volume, 1, 0)),
        "volume, one plane": (volume & (np.arange(6) == 2)[:, None, None], volume),
        "hollow volume and voxel": (hollow, voxel),
        "full volume and hollow": (np.ones_like(hollow), hollow),
        "one voxel thick": (draw.random((1, 9, 8)) < 0.4, draw.random((1, 9, 8)) < 0.4),
        "both empty": (none, none),
        "empty prediction": (none, point),
        "empty mask": (full, none),
        "both empty volumes": (np.zeros_like(voxel), np.zeros_like(voxel)),
        "empty predicted volume": (np.zeros_like(voxel), voxel),
        "empty volume": (hollow, np.zeros_like(voxel)),
    }  # fmt: skip


PAIRS = pairs()


def scores_of(name: str, spacing: tuple[float, ...] | None, tolerance: float = 2.0):
    prediction, mask = (torch.from_numpy(part)[None, None] for part in PAIRS[name])
    found = segmentation_scores(prediction, mask, spacing=spacing, nsd_tolerance=tolerance)
    return {score: value[0][0] for score, value in found.items()}


def edge_by_loops(mask: np.ndarray) -> np.ndarray:
    """Foreground pixels with a neighbour, or the border of the image, that is background."""
    edge = np.zeros_like(mask)
    for place in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            other = list(place)
            other[axis] += step
            outside = not 0 <= other[axis] < mask.shape[axis]
            if outside or not mask[tuple(other)]:
                edge[place] = True
    return edge


def twin(prediction: np.ndarray, mask: np.ndarray, steps, tolerance: float) -> dict[str, float]:
    """The same scores by counting pixels one by one and Euclidean distance transforms."""
    counts = {(a, b): 0 for a in (False, True) for b in (False, True)}
    for a, b in zip(prediction.flat, mask.flat, strict=True):
        counts[bool(a), bool(b)] += 1
    both, false, missed = counts[True, True], counts[True, False], counts[False, True]
    edges = edge_by_loops(prediction), edge_by_loops(mask)
    distances = [
        distance_transform_edt(~there, sampling=steps)[here].astype(np.float32)
        for here, there in (edges, edges[::-1])
    ]
    return {
        "iou": both / (both + false + missed),
        "dice": 2 * both / (2 * both + false + missed),
        "precision": both / (both + false),
        "recall": both / (both + missed),
        "hd95": max(np.percentile(directed.astype(float), 95) for directed in distances),
        "nsd": np.mean(np.concatenate(distances) <= np.float32(tolerance)),
        "area": (both + missed) * math.prod(steps),
        "iou_reference": (both + 1e-5) / (both + false + missed + 1e-5),
    }


@pytest.mark.parametrize("in_millimetres", [False, True])
@pytest.mark.parametrize("name", [name for name in PAIRS if "empty" not in name])
def test_scores_agree_with_the_slow_twin(name, in_millimetres):
    prediction, mask = PAIRS[name]
    spacing = SPACINGS[mask.ndim] if in_millimetres else None
    found = scores_of(name, spacing, tolerance=1.5)
    expected = twin(prediction, mask, spacing or (1.0,) * mask.ndim, 1.5)
    assert found.pop("empty") == ""
    # A percentile's place is rounded in float32, here as in MONAI: 1e-5 of a pixel.
    assert found.pop("hd95").item() == pytest.approx(expected.pop("hd95"), abs=1e-4)
    assert {key: value.item() for key, value in found.items()} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("in_millimetres", [False, True])
@pytest.mark.parametrize("name", [name for name in PAIRS if "empty" not in name])
def test_scores_agree_with_monai(name, in_millimetres):
    from monai.metrics import (
        compute_dice,
        compute_hausdorff_distance,
        compute_iou,
        compute_surface_dice,
    )

    prediction, mask = (torch.from_numpy(part)[None, None] for part in PAIRS[name])
    spacing = SPACINGS[mask.ndim - 2] if in_millimetres else None
    shared = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # MONAI warns of its own arguments
        expected = {
            "iou": compute_iou(prediction.float(), mask.float()),
            "dice": compute_dice(prediction.float(), mask.float()),
            "hd95": compute_hausdorff_distance(prediction, mask, percentile=95, **shared),
            "nsd": compute_surface_dice(prediction, mask, class_thresholds=[1.5], **shared),
        }
    found = scores_of(name, spacing, tolerance=1.5)
    for score, value in expected.items():
        assert found[score].item() == pytest.approx(value.item(), abs=1e-6), score


def test_the_worked_example():
    prediction, mask = torch.zeros(2, 6, 6, dtype=torch.bool)
    prediction[1:3, 1:3] = True  # four pixels
    mask[1:3, 1:5] = True  # eight, of which they are half
    found = segmentation_scores(
        prediction[None, None], mask[None, None], spacing=(1.0, 2.0), nsd_tolerance=2.0
    )
    assert {key: value[0][0] for key, value in found.items()} == {
        "iou": 0.5,
        "dice": pytest.approx(2 / 3),
        "precision": 1.0,
        "recall": 0.5,
        "hd95": pytest.approx(4.0),  # two columns of two millimetres
        "nsd": pytest.approx(10 / 12),  # the last column lies four millimetres off
        "area": 16.0,
        "empty": "",
        "iou_reference": pytest.approx(0.5, abs=1e-5),
    }


def test_hd95_is_the_larger_of_the_two_directed_ones():
    prediction, mask = PAIRS["full and point"]
    assert scores_of("full and point", None)["hd95"] == twin(prediction, mask, (1, 1), 2.0)["hd95"]
    forth = segmentation_scores(*(torch.from_numpy(p)[None, None] for p in (prediction, mask)))
    back = segmentation_scores(*(torch.from_numpy(p)[None, None] for p in (mask, prediction)))
    for score in ("iou", "dice", "hd95", "nsd"):
        assert torch.equal(forth[score], back[score])


@pytest.mark.parametrize(
    ("name", "empty", "overlap", "distance"),
    [
        ("both empty", "both", 1.0, 0.0),
        ("empty prediction", "prediction", 0.0, math.hypot(12, 15)),
        ("empty mask", "mask", 0.0, math.hypot(12, 15)),
        ("both empty volumes", "both", 1.0, 0.0),
        ("empty predicted volume", "prediction", 0.0, math.hypot(7, 8, 9)),
        ("empty volume", "mask", 0.0, math.hypot(7, 8, 9)),
    ],
)
def test_empty_masks_are_scored_by_the_stated_rule(name, empty, overlap, distance):
    found = scores_of(name, None)
    assert found["empty"] == empty
    for score in ("iou", "dice", "precision", "recall", "nsd"):
        assert found[score] == overlap, score
    assert found["hd95"] == pytest.approx(distance)


def test_the_diagonal_of_an_empty_mask_is_in_millimetres():
    found = scores_of("empty mask", (2.0, 3.0))
    assert found["hd95"] == pytest.approx(math.hypot(24, 45))
    found = scores_of("empty volume", (5.0, 2.0, 3.0))
    assert found["hd95"] == pytest.approx(math.hypot(35, 16, 27))
    assert found["area"] == 0


def test_hd95_is_not_the_percentile_of_both_directions_together():
    """What medpy calls hd95; the surface of one mask then dilutes the errors of the other."""
    prediction, mask = PAIRS["discs with specks"]
    edges = edge_by_loops(prediction), edge_by_loops(mask)
    pooled = np.concatenate(
        [distance_transform_edt(~there)[here] for here, there in (edges, edges[::-1])]
    )
    assert scores_of("discs with specks", None)["hd95"] > 1.02 * np.percentile(pooled, 95)


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.9, 3.0])
def test_the_tolerance_of_nsd_is_in_the_unit_of_the_spacing_and_counts_itself(tolerance):
    mask = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    mask[..., 2:10, 3] = True  # a line, and the same one a column of three millimetres beside it
    found = segmentation_scores(mask.roll(1, -1), mask, spacing=(1.0, 3.0), nsd_tolerance=tolerance)
    assert found["nsd"].item() == (1.0 if tolerance == 3.0 else 0.0)


def test_the_reference_average_smooths_each_image():
    none = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    pixel = none.clone()
    pixel[..., 0, 0] = True
    assert iou_reference(none, none).item() == 1.0
    assert iou_reference(pixel, none).item() == pytest.approx(1e-5, rel=1e-4)


def test_images_and_classes_are_scored_apart():
    names = ["noise", "noise"]
    prediction = torch.stack([torch.from_numpy(PAIRS[name][0]) for name in names])
    mask = torch.stack([torch.from_numpy(PAIRS[name][1]) for name in names])
    prediction = torch.stack([prediction, ~prediction], 1)
    mask = torch.stack([mask, torch.zeros_like(mask)], 1)
    found = segmentation_scores(prediction, mask)
    for score, values in found.items():
        if score == "empty":
            assert values == [["", "mask"], ["", "mask"]]
            continue
        assert values.shape == (2, 2)
        assert values.dtype == torch.float64
        alone = segmentation_scores(prediction[1:, :1], mask[1:, :1])[score]
        assert torch.equal(values[1:, :1], alone), score


def test_the_scores_are_the_columns_of_the_table():
    none = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert list(segmentation_scores(none, none)) == [
        name for name in SCORES.values if name not in OF_PROBABILITIES
    ]
    assert empty_masks(none, none) == [["both"]]


def test_what_is_not_a_pair_of_masks_is_refused():
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"masks are boolean, not torch.float32 and torch.bool"):
        segmentation_scores(mask.float(), mask)
    with pytest.raises(ValueError, match=r"\(1, 1, 4, 4\), the mask \(1, 1, 4, 5\)"):
        segmentation_scores(mask, torch.zeros(1, 1, 4, 5, dtype=torch.bool))
    with pytest.raises(ValueError, match="spacing has 3 numbers for 2 axes"):
        segmentation_scores(mask, mask, spacing=(1.0, 1.0, 1.0))


def test_overlap_is_between_nothing_and_all():
    a, b = torch.zeros(2, 1, 1, 4, 4, dtype=torch.bool)
    a[..., :2], b[..., 2:] = True, True
    assert overlap_scores(a, b)["iou"].item() == 0
    assert overlap_scores(a, a)["iou"].item() == 1
