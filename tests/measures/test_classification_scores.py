"""Scores of labels: known answers, independent computations, and rules for one kind alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from llm4seg_probe.measures.classification import BINS, classification_scores

LABELLED = st.lists(
    st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=2, max_size=40
)


def scored(probability: list[float], truth: list[bool], threshold: float = 0.5) -> dict:
    p, y = torch.tensor(probability)[:, None], torch.tensor(truth)[:, None]
    return {k: v[:, 0].numpy() for k, v in classification_scores(p, p > threshold, y).items()}


def test_four_images_by_hand():
    found = scored([0.9, 0.4, 0.6, 0.1], [True, True, False, False])
    # Of the four pairs, 0.9 beats both others and 0.4 beats 0.1 alone.
    assert found["image_auroc"].tolist() == [1.0, 0.5, 0.5, 1.0]
    assert found["image_balanced_accuracy"].tolist() == [1.0, 0.0, 0.0, 1.0]
    assert found["image_f1"].mean() == pytest.approx(0.5)
    expected = [0.1**2, 0.6**2, 0.6**2, 0.1**2]
    np.testing.assert_allclose(found["image_brier"], expected, atol=1e-6)
    # Each image is alone in its bin, so that the error is the mean distance.
    assert found["image_ece"].mean() == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4, abs=1e-6)


@given(LABELLED)
def test_means_are_the_scores_as_others_compute_them(rows):
    p = np.array([row[0] for row in rows])
    y = np.array([row[1] for row in rows])
    found = {name: parts.mean() for name, parts in scored(p.tolist(), y.tolist()).items()}
    said = torch.tensor(p.tolist()).numpy() > 0.5
    if y.all() or not y.any():
        assert np.isnan(found["image_auroc"])
        assert np.isnan(found["image_balanced_accuracy"])
    else:
        u = stats.mannwhitneyu(p[y], p[~y]).statistic
        assert found["image_auroc"] == pytest.approx(u / (y.sum() * (~y).sum()), abs=1e-9)
        recalls = said[y].mean(), (~said[~y]).mean()
        assert found["image_balanced_accuracy"] == pytest.approx(np.mean(recalls), abs=1e-9)
    tp, wrong = (said & y).sum(), (said != y).sum()
    if tp + wrong:
        assert found["image_f1"] == pytest.approx(2 * tp / (2 * tp + wrong), abs=1e-9)
    else:
        assert np.isnan(found["image_f1"])
    single = torch.tensor(p.tolist()).double().numpy()
    assert found["image_brier"] == pytest.approx(np.mean((single - y) ** 2), abs=1e-9)
    error = 0.0
    for low in range(BINS):
        inside = np.minimum((single * BINS).astype(int), BINS - 1) == low
        if inside.any():
            error += inside.mean() * abs(single[inside].mean() - y[inside].mean())
    assert found["image_ece"] == pytest.approx(error, abs=1e-9)


def test_the_spread_of_the_parts_of_auroc_is_delongs():
    draw = np.random.default_rng(0)
    y = np.repeat([True, False], (30, 50))
    p = draw.normal(y.astype(float), 1.0)
    p = (p - p.min()) / np.ptp(p)
    parts = scored(p.tolist(), y.tolist())["image_auroc"]
    kernel = (p[y][:, None] > p[~y][None]) + 0.5 * (p[y][:, None] == p[~y][None])
    np.testing.assert_allclose(parts[y], kernel.mean(1))
    np.testing.assert_allclose(parts[~y], kernel.mean(0))


def test_f1_parts_are_its_change_when_an_image_counts_a_little_more():
    p, y = [0.9, 0.8, 0.2, 0.7, 0.1, 0.6], [True, False, True, True, False, False]
    said = np.array(p) > 0.5
    truth = np.array(y)

    def f1(weights: np.ndarray) -> float:
        hits = (weights * (said & truth)).sum()
        return float(2 * hits / (weights * (said.astype(int) + truth)).sum())

    parts = scored(p, y)["image_f1"]
    for index in range(6):
        step = 1e-6 * np.eye(6)[index]
        slope = (f1(np.ones(6) + step) - f1(np.ones(6) - step)) / 2e-6
        assert parts[index] - f1(np.ones(6)) == pytest.approx(6 * slope, abs=1e-5)


def test_classes_are_scored_apart():
    p = torch.tensor([[0.9, 0.2], [0.1, 0.7], [0.6, 0.4]])
    y = torch.tensor([[True, False], [False, True], [False, True]])
    both = classification_scores(p, p > 0.5, y)
    for column in (0, 1):
        alone = scored(p[:, column].tolist(), y[:, column].tolist())
        for name, parts in alone.items():
            np.testing.assert_allclose(both[name][:, column], parts)


@pytest.mark.parametrize(
    ("shapes", "kind"), [(((2, 1), (3, 1), (2, 1)), bool), (((2, 1), (2, 1), (2, 1)), float)]
)
def test_other_shapes_and_types_are_refused(shapes, kind):
    p, said, y = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=r"\(N, K\) each|boolean"):
        classification_scores(p, said.to(torch.bool if kind is bool else torch.float), y.bool())
