"""Linear probes against closed forms, numpy's least squares and plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llm4seg_probe.measures.linear_probe import (
    BINS,
    Moments,
    ScoreCounts,
    average_precision,
    dice,
    fit_probes,
    levels,
    position_features,
)
from llm4seg_probe.randomness import generator


def moments_of(features, *labels):
    moments = Moments(features.shape[1], len(labels))
    for start in range(0, len(features), 17):  # in parts, as batches come
        part = slice(start, start + 17)
        moments.add(features[part], torch.stack([label[part] for label in labels], -1))
    return moments


def cloud(count, shift, name, channels=5):
    """Tokens of two classes, the second moved along a fixed direction."""
    source = generator("decode clouds", name)
    labels = torch.rand(count, generator=source) < 0.3
    tokens = torch.randn(count, channels, generator=source, dtype=torch.float64)
    return tokens + shift * labels[:, None] * torch.linspace(-1, 1, channels), labels


def scores_of(probe, tokens):
    return tokens.to(torch.float64) @ probe.weights + probe.offset


def auroc_by_pairs(scores, labels):
    inside, outside = scores[labels], scores[~labels]
    wins = [(a > b) + 0.5 * (a == b) for a in inside.tolist() for b in outside.tolist()]
    return sum(wins) / len(wins)


def average_precision_by_thresholds(scores, labels):
    area = recall = 0.0
    for level in sorted(set(scores.tolist()), reverse=True):
        above = scores >= level
        found = (above & labels).sum().item()
        step = found / labels.sum().item() - recall
        area += step * found / above.sum().item()
        recall += step
    return area


def counted(scores, labels):
    counts = ScoreCounts(len(scores))
    for start in range(0, scores.shape[1], 13):
        counts.add(scores[:, start : start + 13], labels[:, start : start + 13])
    return counts


def test_separable_clouds_are_told_apart_perfectly():
    (train, train_labels), (test, test_labels) = (cloud(300, 20, name) for name in ("a", "b"))
    moments = moments_of(train, train_labels)
    probe = fit_probes(moments, moments, torch.arange(5))[0]
    scores = scores_of(probe, test)[None]
    assert counted(scores, test_labels[None]).auroc().item() == 1.0
    assert average_precision(scores, test_labels[None]).item() == pytest.approx(1, abs=1e-12)


def test_inseparable_clouds_give_a_half_within_its_standard_error():
    found = []
    for repeat in range(20):
        train, train_labels = cloud(200, 0, f"train {repeat}")
        test, test_labels = cloud(400, 0, f"test {repeat}")
        moments = moments_of(train, train_labels)
        probe = fit_probes(moments, moments, torch.arange(5))[0]
        found.append(counted(scores_of(probe, test)[None], test_labels[None]).auroc().item())
    n, m = 400 * 0.3, 400 * 0.7
    error = math.sqrt((n + m + 1) / (12 * n * m))  # of a Mann-Whitney statistic without effect
    assert abs(np.mean(found) - 0.5) < 3 * error / math.sqrt(len(found))
    assert np.std(found) < 2 * error


@pytest.mark.parametrize("power", [-6, 0, 2])
def test_the_probe_is_the_ridge_regression_of_numpy_on_standardised_features(power):
    tokens, labels = cloud(211, 0.7, "ridge")
    tokens = tokens * torch.tensor([1e-3, 1.0, 50.0, 1.0, 1.0]) + 3
    moments = moments_of(tokens, labels)
    columns = torch.tensor([0, 1, 2, 4])
    probe = fit_probes(moments, moments, columns, [10.0**power])[0]
    x, y = tokens.numpy()[:, columns], labels.numpy().astype(float)
    x = (x - x.mean(0)) / x.std(0)
    stacked = np.vstack([x, np.sqrt(10.0**power * len(x)) * np.eye(4)])
    weights = np.linalg.lstsq(stacked, np.r_[y - y.mean(), np.zeros(4)], rcond=None)[0]
    expected = x @ weights
    assert scores_of(probe, tokens).numpy() == pytest.approx(expected / expected.std(), abs=1e-8)
    assert probe.weights[3] == 0
    assert probe.penalty == 10.0**power


def test_the_penalty_is_the_one_with_the_least_squared_error_on_validation_tokens():
    train, train_labels = cloud(40, 1.0, "few", channels=30)
    validation, validation_labels = cloud(500, 1.0, "validation", channels=30)
    moments = moments_of(train, train_labels)
    penalties = [1e-6, 1e-2, 0.3, 1.0, 10.0, 1e3]
    columns = torch.arange(30)
    chosen = fit_probes(moments, moments_of(validation, validation_labels), columns, penalties)[0]
    errors = []
    x = (train - train.mean(0)) / train.std(0, correction=0)
    seen = (validation - train.mean(0)) / train.std(0, correction=0)
    y = train_labels.double() - train_labels.double().mean()
    for penalty in penalties:
        eye = penalty * len(x) * torch.eye(30, dtype=torch.float64)
        weights = torch.linalg.solve(x.mT @ x + eye, x.mT @ y)
        predicted = seen @ weights + train_labels.double().mean()
        errors.append((predicted - validation_labels.double()).square().mean().item())
    assert chosen.penalty == penalties[int(np.argmin(errors))]
    assert chosen.penalty not in (penalties[0], penalties[-1])


def test_several_targets_and_merged_moments_are_those_of_one_at_a_time():
    tokens, labels = cloud(150, 0.5, "targets")
    others = labels.roll(7)
    both = moments_of(tokens, labels, others)
    halves = moments_of(tokens[:60], labels[:60], others[:60])
    halves.merge(moments_of(tokens[60:], labels[60:], others[60:]))
    assert halves.count == both.count == 150
    columns = torch.arange(5)
    pairs = [fit_probes(moments, moments, columns) for moments in (both, halves)]
    for target, alone in enumerate((labels, others)):
        own = moments_of(tokens, alone)
        expected = fit_probes(own, own, columns)[0]
        for probes in pairs:
            assert probes[target].weights.numpy() == pytest.approx(expected.weights.numpy())
            assert probes[target].penalty == expected.penalty


@pytest.mark.parametrize("damage", ["one class", "not finite"])
def test_there_is_no_probe_without_two_classes_or_finite_tokens(damage):
    tokens, labels = cloud(50, 1, "degenerate")
    if damage == "one class":
        labels = torch.zeros_like(labels)
    else:
        tokens[3, 2] = torch.inf
    moments = moments_of(tokens, labels)
    probe = fit_probes(moments, moments, torch.arange(5))[0]
    assert probe.weights.isnan().all()
    assert math.isnan(probe.offset)
    scores = scores_of(probe, cloud(50, 1, "more")[0])[None]
    some = cloud(50, 1, "more")[1][None]
    counts = counted(scores, some)
    assert counts.auroc().isnan().all()
    assert average_precision(scores, some).isnan().all()


def test_a_channel_that_never_changes_has_no_say():
    tokens, labels = cloud(100, 2, "constant")
    tokens[:, 1] = 1234.5
    moments = moments_of(tokens, labels)
    probe = fit_probes(moments, moments, torch.arange(5))[0]
    assert probe.weights[1] == 0
    assert torch.isfinite(probe.weights).all()
    nothing = fit_probes(moments, moments, torch.tensor([1]))[0]
    assert scores_of(nothing, tokens).abs().max() == 0  # all tokens score alike


def test_position_decodes_any_pattern_of_a_small_grid_and_only_smooth_ones_of_a_fine_one():
    source = generator("pattern")
    for grid, perfect in (((6, 6), True), ((5, 4), True), ((3, 3, 2), True), ((24, 24), False)):
        pattern = torch.rand(math.prod(grid), generator=source) < 0.4
        features = position_features(grid)
        moments = moments_of(features, pattern)
        probe = fit_probes(moments, moments, torch.arange(features.shape[1]), [1e-9])[0]
        area = counted(scores_of(probe, features)[None], pattern[None]).auroc().item()
        assert (area == 1) == perfect, grid
    assert position_features((1, 1)).shape == (1, 0)


def test_features_add_nothing_to_position_where_they_are_position():
    grid, images = (6, 6), 12
    centre = position_features(grid, 3)[:, :5].sum(-1) > 0.2
    labels = centre.repeat(images) ^ (torch.rand(36 * images, generator=generator("flip")) < 0.1)
    place = position_features(grid).repeat(images, 1)
    features = torch.cat(
        [place @ torch.randn(35, 8, generator=generator("mix")).double(), place], 1
    )
    moments = moments_of(features, labels)
    position = torch.arange(8, 43)
    scores = torch.stack(
        [
            scores_of(fit_probes(moments, moments, columns)[0], features)
            for columns in (position, torch.arange(43))
        ]
    )
    alone, together = counted(scores, labels.expand(2, -1)).auroc().tolist()
    assert together == pytest.approx(alone, abs=2e-3)
    assert alone > 0.8


def test_pooled_measures_are_those_of_loops():
    source = generator("pooled")
    scores = (8 * torch.randn(3, 120, generator=source, dtype=torch.float64)).round() / 4  # ties
    labels = torch.rand(3, 120, generator=source) < 0.35
    counts = counted(scores, labels)
    cuts = counts.best_cuts()
    for row in range(3):
        assert counts.auroc()[row].item() == pytest.approx(auroc_by_pairs(scores[row], labels[row]))
        expected = average_precision_by_thresholds(scores[row], labels[row])
        assert counts.average_precision()[row].item() == pytest.approx(expected)
        assert average_precision(scores[row][None], labels[row][None]).item() == pytest.approx(
            expected
        )
        best = max(
            dice((scores[row] >= level)[None], labels[row][None]).item()
            for level in scores[row].unique()
        )
        called = levels(scores[row]) >= cuts[row]
        assert dice(called[None], labels[row][None]).item() == pytest.approx(best)
        assert counts.dice(cuts)[row].item() == pytest.approx(best)
    assert counts.tokens.sum(0).tolist() == [120, 120, 120]


def test_levels_rise_with_the_score_without_end():
    scores = torch.tensor([-torch.inf, -1e9, -3.0, -3e-4, 0.0, 4e-4, 2.0, 1e9, torch.inf])
    found = levels(scores.double())
    assert (found.diff() >= 0).all()
    assert (found[0], found[-1]) == (0, BINS - 1)
    assert found[3] < found[4] < found[5]


def test_without_foreground_nothing_is_measured():
    scores, nothing = torch.randn(1, 30, generator=generator("none")), torch.zeros(1, 30) > 0
    counts = counted(scores, nothing)
    assert counts.auroc().isnan().all()
    assert counts.average_precision().isnan().all()
    assert counts.dice(counts.best_cuts()).isnan().all()
    assert average_precision(scores, nothing).isnan().all()
    assert dice(scores > 0, nothing).isnan().all()
