import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

sys.path.append(str(Path(__file__).parents[2] / "analyses" / "benchmarks"))
import precision_summary as summary


def scores_of(a: list[float], b: list[float], *, scored: str = "last", seconds: float = 60):
    rows = [
        ("ten", scored, "all", arm, seed, iou, seconds)
        for arm, values in (("llm", a), ("cnn", b))
        for seed, iou in enumerate(values)
    ]
    columns = ["setting", "scored", "images", "arm", "seed", "iou", "seconds"]
    return pd.DataFrame(rows, columns=columns)


def test_certainty_is_one_over_the_variance_of_the_difference_times_minutes() -> None:
    # Differences -0.01, 0, 0.01: their SD is 0.01; a pair takes two minutes.
    row = summary.summarised(scores_of([0.5, 0.6, 0.7], [0.51, 0.6, 0.69])).iloc[0]
    assert row["n_seeds"] == 3
    assert row["sd_difference"] == pytest.approx(0.01)
    assert (row["sd_a"], row["sd_b"]) == pytest.approx((0.1, 0.09))
    assert row["r"] == pytest.approx(1)
    assert row["minutes"] == pytest.approx(2)
    assert row["certainty"] == pytest.approx(1 / (0.01**2 * 2))
    # With two degrees of freedom chi-square is exponential: its quantiles are -2 log(1 - p).
    low, high = -np.log(0.975), -np.log(0.025)
    assert row["certainty_low"] == pytest.approx(row["certainty"] * low)
    assert row["certainty_high"] == pytest.approx(row["certainty"] * high)


def test_the_ratio_to_the_first_weighs_the_minutes() -> None:
    noise, base = [0.02, 0.0, -0.02, 0.01], [0.5, 0.6, 0.7, 0.65]
    noisy = [x + y for x, y in zip(base, noise, strict=True)]
    quiet = [x + y / 2 for x, y in zip(base, noise, strict=True)]
    table = pd.concat(
        [
            scores_of(noisy, base),
            scores_of(quiet, base, scored="average"),
            scores_of(quiet, base, scored="twice", seconds=120),
        ]
    )
    found = summary.summarised(table).set_index("scored")["to_first"]
    assert found.to_dict() == pytest.approx({"last": 1, "average": 4, "twice": 2})


@pytest.mark.parametrize(("sd", "rho"), [(1.0, 0.0), (2.0, 0.6), (0.5, 0.95)])
def test_the_interval_of_a_ratio_is_where_a_t_test_of_sum_and_difference_is_silent(sd, rho) -> None:
    draws = np.random.default_rng(3).multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=12)
    x, y = sd * draws[:, 0], draws[:, 1]
    ratio, low, high = summary.variance_ratio(x, y)
    assert ratio == pytest.approx(np.var(x) / np.var(y))
    for bound in (low, high):
        assert stats.pearsonr(x + bound**0.5 * y, x - bound**0.5 * y).pvalue == pytest.approx(0.05)


def test_only_seeds_of_both_arms_count_and_no_mean_is_written() -> None:
    scores = scores_of([0.5, 0.6, 0.7], [0.31, 0.4, 0.49])
    scores = scores[~((scores["arm"] == "llm") & (scores["seed"] == 2))]
    assert summary.summarised(scores).empty, "two pairs have an SD that says nothing"
    hidden = summary.blinded(scores)
    assert hidden.groupby("arm")["deviation"].mean().to_dict() == pytest.approx(
        {"llm": 0, "cnn": 0}
    )
    assert "iou" not in hidden
    assert hidden["deviation"].to_list() == pytest.approx([-0.05, 0.05, -0.09, 0, 0.09])


def test_learning_is_of_the_plain_network_alone() -> None:
    rows = [("ten", "last", arm, seed, epoch, value) for arm, seed, epoch, value in [
        ("cnn", 0, 1, 0.2), ("cnn", 0, 2, 0.4), ("cnn", 1, 1, 0.4), ("cnn", 1, 2, 0.8),
        ("llm", 0, 1, 0.9), ("llm", 0, 2, 0.1),
    ]]  # fmt: skip
    curves = pd.DataFrame(rows, columns=["setting", "scored", "arm", "seed", "epoch", "val_iou"])
    found = summary.learning(curves).set_index("epoch")
    assert found.loc[2, "gain"] == pytest.approx(0.3)
    assert np.isnan(found.loc[1, "gain"])
    assert found.loc[2, "sd_seeds"] == pytest.approx(np.std([0.4, 0.8], ddof=1))
    assert found.loc[2, "n_seeds"] == 2
