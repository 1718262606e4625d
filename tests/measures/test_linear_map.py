import numpy as np
import pytest
import torch

from llm4seg_probe.measures.linear_map import LinearMap, MapFit, explained


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fitted(*pairs, ridges=(1e-3,)):
    fit = MapFit()
    for start, goal in pairs:
        fit.add(start, goal)
    return fit.solved(ridges)


def test_a_linear_relation_is_found_whole():
    x, weight, offset = draws(4, 50, 6), draws(6, 3, seed=1), draws(3, seed=2)
    y = x @ weight + offset
    found = fitted((x, y), ridges=(1e-12,))
    torch.testing.assert_close(found.weight.float(), weight, atol=1e-5, rtol=0)
    torch.testing.assert_close(found(x), y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_the_ridge_is_that_of_an_augmented_least_squares_problem(ridge):
    x, y = draws(40, 5).double() + 3, draws(40, 2, seed=1).double() - 1
    found = fitted((x, y), ridges=(ridge,))
    centred = (x - x.mean(0)).numpy()
    penalty = ridge * (centred**2).sum() / 5
    longer = np.vstack([centred, np.sqrt(penalty) * np.eye(5)])
    goal = np.vstack([(y - y.mean(0)).numpy(), np.zeros((5, 2))])
    naive = np.linalg.lstsq(longer, goal, rcond=None)[0]
    np.testing.assert_allclose(found.weight, naive, atol=1e-10)
    torch.testing.assert_close(found(x.mean(0)), y.mean(0))


def test_batches_add_up():
    x, y = draws(6, 10, 4), draws(6, 10, 3, seed=1)
    whole, parts = fitted((x, y)), fitted((x[:1], y[:1]), (x[1:4], y[1:4]), (x[4:], y[4:]))
    torch.testing.assert_close(parts.weight, whole.weight)
    torch.testing.assert_close(parts.offset, whole.offset)


def test_the_penalty_is_the_one_that_predicts_left_out_batches_best():
    weight = draws(30, 2, seed=5)
    batches = []
    for k in range(8):
        x = draws(6, 30, seed=k)
        batches.append((x, x @ weight + 3 * draws(6, 2, seed=100 + k)))
    ridges = (1e-6, 1e-2, 1.0, 1e2)
    errors = []
    for ridge in ridges:  # the same folds, by hand
        error = 0.0
        for fold in range(4):
            rest = [pair for k, pair in enumerate(batches) if k % 4 != fold]
            x, y = (torch.cat(each) for each in zip(*rest, strict=True))
            found = fitted((x, y), ridges=(ridge,))
            held = [pair for k, pair in enumerate(batches) if k % 4 == fold]
            error += sum(float((found(a) - b).square().sum()) for a, b in held)
        errors.append(error)
    best = ridges[int(np.argmin(errors))]
    assert best not in (ridges[0], ridges[-1])
    chosen, known = fitted(*batches, ridges=ridges), fitted(*batches, ridges=(best,))
    assert torch.equal(chosen.weight, known.weight)


def test_the_identity_changes_no_bit():
    x = draws(2, 9, 7) * 1e3
    assert torch.equal(LinearMap.identity(7)(x), x)


@pytest.mark.parametrize("value", [0.0, 1e4])
def test_tokens_that_are_all_alike_predict_the_mean(value):
    y = draws(30, 2)
    found = fitted((torch.full((30, 3), value), y))
    torch.testing.assert_close(found(torch.full((3,), value)), y.mean(0), atol=1e-4, rtol=0)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="no tokens were added"):
        MapFit().solved()
    with pytest.raises(ValueError, match="9 tokens cannot be paired with 8"):
        MapFit().add(draws(9, 2), draws(8, 2))


def test_the_explained_share_of_the_same_of_the_mean_and_of_worse():
    wanted = draws(2, 5, 3)
    mean = wanted.mean(0)
    assert explained(wanted, wanted, mean).tolist() == [1, 1]
    assert explained(mean.expand(2, 5, 3), wanted, mean).tolist() == pytest.approx([0, 0])
    assert explained(2 * mean - wanted, wanted, mean).tolist() == pytest.approx([-3, -3])
    assert explained(wanted, mean.expand(2, 5, 3), mean).isnan().all()
