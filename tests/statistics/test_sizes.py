"""Score and gain by the number of training images, and the interactions that claims state."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.statistics.claims import Claim
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.statistics.sizes import sizes
from llm4seg_probe.study.analysis import analyses_folder, load_analysis
from llm4seg_probe.tables import SIZES

SEEDS, CASES = 6, 12
COUNTS = {"8": [9, 12, 9, 51, 20, 23], "64": [69, 71, 80, 74, 95, 66], "all": [129] * 6}
ARMS = ("cnn", "llm", "random-frozen", "adapters", "llm-trainable")
_DATA = {"dataset": "spine", "checkpoint": "best", "split": "test", "class": "foreground"}


def made_up() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of five arms at three sizes, in two settings, and with wrong masks; and their runs."""
    draw = np.random.default_rng(0)
    rows, runs = [], []
    conditions = [("all", "", ""), ("all", "", "0.5")]
    conditions += [(size, steps, "") for size in ("8", "64") for steps in ("", "full")]
    for arm in ARMS:
        for size, steps, noise in conditions:
            items = [
                *([f"label_noise={noise}"] if noise else []),
                *([f"steps_per_epoch={steps}"] if steps else []),
                *([f"train_images={size}"] if size != "all" else []),
            ]
            for seed in range(SEEDS):
                run = f"{arm}-{seed}-{size}-{steps}-{noise}"
                runs.append(
                    {"run": run, "dataset": "spine", "arm": arm, "seed": seed,
                     "train_images": size, "steps_per_epoch": steps, "label_noise": noise or "0.0",
                     "deviation": ",".join(items), "training_images": COUNTS[size][seed],
                     "wall_seconds": 1.0}
                )  # fmt: skip
                level = draw.normal(0.5, 0.05)
                rows += [
                    {**_DATA, "run": run, "arm": arm, "seed": seed, "image": f"i{case}",
                     "group": f"g{case % 4}", "iou": level + draw.normal(0, 0.02)}
                    for case in range(CASES)
                ]  # fmt: skip
    return pd.DataFrame(rows), pd.DataFrame(runs)


SCORES, RUNS = made_up()


def mean_of(arm: str, size: str, steps: str = "", noise: str = "") -> np.ndarray:
    """Mean score of each seed's run, taken from the table by the names of the runs alone."""
    names = [f"{arm}-{seed}-{size}-{steps}-{noise}" for seed in range(SEEDS)]
    return SCORES.groupby("run")["iou"].mean().loc[names].to_numpy()


def test_an_interaction_is_the_difference_of_paired_differences_over_seeds() -> None:
    for claim in load_analysis(analyses_folder() / "few-data.yaml").claims:
        assert isinstance(claim, Claim)
        rows, verdicts = judge([claim], {"scores": SCORES, "runs": RUNS}, bootstrap=0)
        assert len(rows) == len(claim.comparisons)
        p = []
        for (_, row), pair in zip(rows.iterrows(), claim.comparisons, strict=True):
            other = pair.b.split(" - ")[1]
            steps = "full" if "steps_per_epoch" in pair.a else ""
            size, noise = ("all", "0.5") if "label_noise" in pair.a else ("8", "")
            on_few = mean_of("llm", size, steps, noise) - mean_of(other, size, steps, noise)
            on_all = mean_of("llm", "all") - mean_of(other, "all")
            theirs = stats.ttest_1samp(on_few - on_all, 0.0)
            interval = theirs.confidence_interval(0.95)
            assert row["difference"] == pytest.approx(np.mean(on_few - on_all), rel=1e-9)
            assert (row["ci_low"], row["ci_high"]) == pytest.approx(tuple(interval), rel=1e-9)
            assert row["p_t"] == pytest.approx(theirs.pvalue, rel=1e-9)
            assert row["n_seeds"] == SEEDS
            one_sided = stats.ttest_1samp(on_few - on_all, 0.0, alternative="greater").pvalue
            p.append(one_sided)
        weakest = claim.comparisons[int(np.argmax(p))]
        assert verdicts["decided_by"].item() == f"{weakest.a} against {weakest.b}"


def test_an_interaction_that_is_there_is_found_and_one_that_is_not_is_not() -> None:
    [claim, *_] = load_analysis(analyses_folder() / "few-data.yaml").claims
    draw = np.random.default_rng(1)
    of_run = {run: draw.normal(0, 0.004) for run in RUNS["run"]}
    gains = {"8": 0.05, "64": 0.02, "all": 0.01}
    size = dict(zip(RUNS["run"], RUNS["train_images"], strict=True))
    for larger, verdict in ((True, "supported"), (False, "inconclusive")):
        iou = [
            0.5 + of_run[run] + (arm == "llm") * (gains[size[run]] if larger else gains["all"])
            for run, arm in zip(SCORES["run"], SCORES["arm"], strict=True)
        ]
        _, claims = judge([claim], {"scores": SCORES.assign(iou=iou), "runs": RUNS}, bootstrap=0)
        assert claims["verdict"].item() in (verdict, *(() if larger else ("equivalent",)))


def test_means_and_gains_by_size_are_those_of_numpy() -> None:
    found = sizes(SCORES, RUNS).set_index(["setting", "arm", "size"])
    assert len(found) == 2 * 3 * len(ARMS)  # wrong masks at one size alone are left out
    for setting, steps in (("", ""), ("steps_per_epoch=full", "full")):
        for arm in ARMS:
            for size, counts in COUNTS.items():
                row = found.loc[(setting, arm, size)]
                chosen = "" if size == "all" else steps  # the same runs: they have as many steps
                values = mean_of(arm, size, chosen)
                half = stats.t.ppf(0.975, SEEDS - 1) * values.std(ddof=1) / SEEDS**0.5
                assert row["mean"] == pytest.approx(values.mean(), rel=1e-9)
                assert row["ci_high"] - row["mean"] == pytest.approx(half, rel=1e-9)
                assert row["mean"] - row["ci_low"] == pytest.approx(half, rel=1e-9)
                span = (np.mean(counts), min(counts), max(counts))
                assert (row["images"], row["images_low"], row["images_high"]) == span
                if arm == "cnn":
                    assert np.isnan(row["gain"])
                    continue
                gain = values - mean_of("cnn", size, chosen)
                low, high = stats.ttest_1samp(gain, 0).confidence_interval(0.95)
                assert row["gain"] == pytest.approx(gain.mean(), rel=1e-9)
                assert (row["gain_low"], row["gain_high"]) == pytest.approx((low, high), rel=1e-9)


def test_rows_stand_by_size_and_a_missing_seed_is_told() -> None:
    lost = SCORES[SCORES["run"] != "llm-2-8--"]
    found = sizes(lost, RUNS)
    assert list(found[found["setting"] == ""]["size"].drop_duplicates()) == ["8", "64", "all"]
    row = found[(found["arm"] == "llm") & (found["size"] == "8") & (found["setting"] == "")]
    assert row["note"].item() == "seeds 2 are not in both: left out of the gain"
    assert row["n_seeds"].item() == SEEDS - 1
    assert set(found["note"]) == {"", row["note"].item()}


def test_where_no_size_varies_there_is_nothing_to_tell() -> None:
    plain = RUNS[RUNS["train_images"] == "all"]
    scores = SCORES[SCORES["run"].isin(plain["run"])]
    for runs in (plain, plain.drop(columns="train_images")):
        found = sizes(scores, runs)
        assert found.empty
        assert list(found.columns) == list(SIZES.columns)
