"""The audit: designs, suspicions, allowed tests and sentences, on tables of every kind."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.statistics.audit import audit, audit_files
from llm4seg_probe.statistics.columns import Match
from llm4seg_probe.statistics.compare import compare


def found(result, level):
    return [finding.what for finding in result.findings if finding.level == level]


def allowed(result):
    return [test.name for test in result.tests if test.allowed]


# -- runs ------------------------------------------------------------------------------------


def test_a_clean_study_gets_what_compare_says(study):
    table = study({"cnn": 0.0, "adapters": 0.0, "llm": 0.02})
    result = audit(table.rename(columns={"arm": "Method", "image": "Slice", "iou": "IoU"}))
    pd.testing.assert_frame_equal(result.comparison, compare(table))
    assert result.design.sentence == (
        "Results per case: 3 arms, 5 seeds, 24 cases, 12 patients; paired by seed and case."
    )
    assert found(result, "fault") == found(result, "doubt") == []
    assert found(result, "note") == [
        "not used: run",
        "2 comparisons with the baseline: p is adjusted over all of them (Holm)",
        "a higher iou is better, by its name",
        "a difference of 0.005 is taken to matter, by default: --margin",
        "baseline: cnn, by its name",
    ]
    assert Match("arm", "Method", "name") in result.matches
    assert result.sentences[1].startswith("On spine: Supported: llm has a higher iou than cnn")
    assert allowed(result) == [
        "paired t-test over seeds",
        "exact sign-flip test over seeds",
        "equivalence within the margin (TOST)",
        "interval over patients",
    ]


def test_per_seed_results(per_seed):
    result = audit(per_seed(unet=[0.6, 0.61, 0.62], ours=[0.63, 0.62, 0.66]))
    assert result.design.sentence == "Results per seed: 2 arms, 3 seeds; paired by seed."
    assert result.baseline == "unet"
    assert "interval over patients" not in allowed(result)
    assert "no cases in the table: nothing can be said about other patients" in found(
        result, "note"
    )


def test_one_run_per_arm_is_a_fault_and_no_verdict(study):
    result = audit(study(seeds=1))
    assert found(result, "fault") == ["one run per arm on spine: the noise of training is unknown"]
    assert result.comparison["verdict"][0] == "not run"
    assert allowed(result) == ["interval over patients"]
    refused = {test.name: test.why for test in result.tests if not test.allowed}
    assert refused["test over the cases of one run, as evidence for a method"] == (
        "cases tell two trained models apart; another training run is another model"
    )


def test_runs_that_share_no_seed_get_welch(per_seed):
    table = per_seed(cnn=[0.6, 0.61, 0.62], llm=[0.63, 0.62, 0.66])
    table.loc[table["arm"] == "llm", "seed"] += 10
    result = audit(table)
    a, b = (table.loc[table["arm"] == arm, "iou"] for arm in ("llm", "cnn"))
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert result.comparison["p_t"][0] == pytest.approx(expected, rel=1e-10)
    assert result.design.sentence.endswith("; not paired.")
    assert "no seed is in every arm: the runs are not paired" in found(result, "note")
    assert "Welch's t-test over runs" in allowed(result)
    assert "paired t-test over seeds" not in allowed(result)


def test_an_arm_with_more_runs_may_be_the_best_of_several(study):
    table = study()
    result = audit(table[(table["arm"] == "llm") | (table["seed"] < 3)])
    assert found(result, "doubt")[:2] == [
        "arms have different numbers of runs on spine (cnn 3, llm 5): is one the best of several?",
        "seeds 3, 4 are not in every arm on spine: they are left out",
    ]
    assert result.comparison["n_seeds"][0] == 3


def test_identical_runs_are_a_fault(study):
    table = study()
    copied = table[(table["arm"] == "cnn") & (table["seed"] == 1)]["iou"].to_numpy()
    table.loc[(table["arm"] == "llm") & (table["seed"] == 3), "iou"] = copied
    assert found(audit(table), "fault") == ["cnn seed 1 and llm seed 3 have identical scores"]


def test_doubled_rows_are_a_fault_and_are_not_compared(study):
    table = study()
    result = audit(pd.concat([table, table.head(3)]))
    assert found(result, "fault")[1] == "3 rows appear twice"
    assert found(result, "fault")[0].startswith("not comparable: 2 rows for dataset spine, arm cnn")
    assert result.comparison.empty
    assert result.sentences == ()


def test_percentages_beside_fractions_are_a_fault(study):
    table = study()
    table.loc[(table["arm"] == "llm") & (table["seed"] == 0), "iou"] *= 100
    faults = found(audit(table, margin=0.5), "fault")
    assert "percentages beside fractions: spine llm 0 in the other unit" in faults
    assert any(fault.startswith("not comparable: iou mixes fractions") for fault in faults)


@pytest.mark.parametrize(
    ("columns", "doubt"),
    [
        (
            {"split": "val"},
            "all scores are of the split val: if the epoch or the settings were chosen there, they "
            "flatter",
        ),
        ({"epoch": 0}, "the runs report 10 different epochs: on which data was each chosen?"),
    ],
)
def test_selection_on_the_reported_data_is_doubted(study, columns, doubt):
    table = study().assign(**columns)
    if "epoch" in columns:
        table["epoch"] = table["seed"] + 5 * (table["arm"] == "llm")
    assert found(audit(table), "doubt") == [doubt]


def test_missing_and_empty_cases_are_counted(study):
    table = study()
    table.loc[4, "iou"] = np.nan
    result = audit(table.drop(index=[7]))
    assert found(result, "doubt") == [
        "1 of 24 cases lack a row in some run: a case that cnn alone lacks may be one that it "
        "missed",
        "1 of 239 scores are empty",
        "2 cases without a score in some run are left out of all",
    ]
    assert result.comparison["n_cases"][0] == 22


def test_few_patients_and_none_named(study):
    few = audit(study(cases=18, per_group=6))
    assert "3 patients are too few to speak of other patients" in found(few, "note")
    nameless = audit(study().drop(columns="group"))
    assert "no patients in the table: every case is taken for another patient" in found(
        nameless, "note"
    )


def test_coarse_rounding_is_doubted(per_seed):
    result = audit(per_seed(cnn=[0.61, 0.62, 0.64], llm=[0.63, 0.62, 0.66]))
    assert found(result, "doubt") == ["scores are rounded to 0.01, more coarsely than the margin"]


def test_folds_get_the_corrected_resampled_test(study):
    table = study(seeds=1, cases=20, per_group=1).drop(columns=["seed", "run"])
    table["fold"] = table["image"].str.removeprefix("image").astype(int) % 5
    result = audit(table)
    expected = compare(table.assign(seed=0), fold="fold", test_share=0.2)
    assert result.comparison["p_t"][0] == pytest.approx(expected["p_t"][0])
    assert result.design.sentence == (
        "Results per fold: 2 arms, 5 folds, 20 cases, 20 patients; paired by fold and case."
    )
    assert "corrected resampled t-test over folds" in allowed(result)
    assert "exact sign-flip test over seeds" not in allowed(result)


def test_classes_are_averaged(study):
    table = pd.concat([study(seed=n, **{"class": name}) for n, name in enumerate("ab")])
    assert audit(table).comparison["n_cases"][0] == 24


def test_percentages_have_a_margin_of_half_a_point(study):
    table = study()
    result = audit(table.assign(iou=100 * table["iou"]))
    assert (result.margin, result.comparison["margin"][0]) == (0.5, 0.5)


def test_what_cannot_be_audited_says_why(study):
    with pytest.raises(TableError, match=r"^only one arm \(cnn\): there is nothing to compare"):
        audit(study({"cnn": 0.0}))
    with pytest.raises(TableError, match=r"^unknown arm 'cnm'\. Did you mean 'cnn'\?"):
        audit(study(), baseline="cnm")
    with pytest.raises(ConfigError, match=r"^is a higher or a lower 'colour' better\? The name"):
        audit(study(score="colour"))
    assert audit(study(score="hd95"), margin=0.1).comparison["lower_is_better"][0]


# -- means -----------------------------------------------------------------------------------


PUBLISHED = """method,n,BUSI IoU
U-Net,3,68.61 ± 2.86
CMUNeXt,3,71.56 ± 2.43
Sure,3,90.00 ± 0.10
Same,3,68.62 ± 1.00
"""
"""The first two rows: BUSI, three splits, from the README of the CMUNeXt authors' benchmark
(FengheTan9/Medical-Image-Segmentation-Benchmarks); the others made up."""


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "published.csv"
    path.write_text(PUBLISHED, encoding="utf-8")
    return audit_files([path])


def test_means_alone_give_a_curve_over_the_unknown_correlation(published):
    assert published.design.sentence == (
        "Printed means: 4 arms, 3 runs; only means and SDs, so the pairing is unknown."
    )
    row = published.comparison.iloc[0]
    # By hand: sd of the differences that gives p = 0.05 is 2.95 sqrt(3) / 4.302653 = 1.187541.
    crossing = (2.86**2 + 2.43**2 - 1.187541**2) / (2 * 2.86 * 2.43)
    assert row["crossing"] == pytest.approx(crossing, abs=1e-5)
    assert row["crossing_low"] < row["crossing"] < row["crossing_high"]
    spread = np.sqrt(2.86**2 + 2.43**2)
    assert row["p_uncorrelated"] == pytest.approx(2 * stats.t.sf(2.95 * np.sqrt(3) / spread, 2))
    assert (row["difference_low"], row["difference_high"]) == pytest.approx((2.94, 2.96))
    assert row["verdict"] == "inconclusive"
    assert row["sentence"] == (
        "CMUNeXt against U-Net: +2.95 in iou over 3 runs is significant at 0.05 only if the pairs "
        "correlate above 0.91; uncorrelated, p = 0.31."
    )
    curve = published.curves.query("a == 'CMUNeXt'")
    assert curve["p"].is_monotonic_decreasing
    assert (curve["p_low"] <= curve["p"]).all()
    assert (curve["p"] <= curve["p_high"]).all()
    crossed = np.interp(0.05, curve["p"][::-1], curve["correlation"][::-1])
    assert crossed == pytest.approx(crossing, abs=0.02)


def test_some_answers_need_no_correlation(published):
    sure, same = published.comparison.iloc[1], published.comparison.iloc[2]
    assert (sure["verdict"], same["verdict"]) == ("supported", "inconclusive")
    assert sure["sentence"].endswith("is significant at 0.05, however the pairs correlate.")
    assert same["sentence"].endswith("is not significant at 0.05, however the pairs correlate.")


def test_means_refuse_what_single_results_would_allow(published):
    assert allowed(published) == ["paired t-test, as a curve over the correlation"]
    assert found(published, "doubt") == [
        "only means and SDs: whether and how the runs were paired is unknown"
    ]


def test_means_and_sds_in_columns_of_their_own_and_n_given():
    table = pd.DataFrame(
        {"Model": ["cnn", "llm"], "mean": ["0.70", "0.72"], "std": ["0.01", "0.02"]}
    )
    row = audit(table, n=5).comparison.iloc[0]
    assert (row["n_seeds"], row["a"], row["margin"]) == (5, "llm", 0.005)
    assert row["difference_high"] == pytest.approx(0.03)


@pytest.mark.parametrize("names", [("IoU", "IoU_std"), ("iou_mean", "iou_sd"), ("Result", "SD")])
def test_means_and_sds_by_other_names(names):
    table = pd.DataFrame(
        {"arm": ["a", "b"], names[0]: ["0.70", "0.72"], names[1]: ["0.01", "0.02"]}
    )
    assert audit(table, n=3).comparison["difference"][0] == pytest.approx(0.02)


def test_a_column_per_data_set():
    table = pd.DataFrame(
        {"Model": ["cnn", "llm"], "BUSI": ["70.1 ± 1.0", "71.0 ± 1.2"],
         "ISIC": ["80.1 (0.5)", "80.9 (0.4)"], "n": [3, 3]}
    )  # fmt: skip
    result = audit(table)
    assert list(result.comparison["dataset"]) == ["BUSI", "ISIC"]
    assert result.sentences[0].startswith("On BUSI: llm against cnn: +0.9 in iou over 3 runs")


def test_rounding_widens_what_can_be_said():
    fine = pd.DataFrame(
        {"arm": ["cnn", "llm"], "mean": ["0.700", "0.720"], "sd": ["0.010", "0.010"]}
    )
    coarse = fine.assign(mean=["0.70", "0.72"], sd=["0.01", "0.01"])
    spans = [
        np.ptp(audit(table, n=5).comparison[["crossing_low", "crossing_high"]].iloc[0])
        for table in (fine, coarse)
    ]
    assert spans[1] > 5 * spans[0]
    assert "by rounding" in audit(coarse, n=5).sentences[0]


@pytest.mark.parametrize(
    ("means", "sds", "n", "told"),
    [
        (("0.78", "0.80"), ("0.03", "0.02"), 5, ": above 0.35 at best, never at worst)"),
        (("0.78", "0.79"), ("0.03", "0.02"), 5, "not significant at 0.05 by the printed digits"),
        (("0.70", "0.74"), ("0.01", "0.01"), 3, "(by rounding: always at best, above"),
        (("0.70", "0.74"), ("0.01", "0.01"), 5,
         "is not surely significant at 0.05: it is by the printed digits"),
    ],
)  # fmt: skip
def test_no_correlation_outside_of_its_range_is_told(means, sds, n, told):
    table = pd.DataFrame({"arm": ["cnn", "llm"], "mean": means, "sd": sds})
    sentence = audit(table, n=n).sentences[0]
    assert told in sentence
    assert all(abs(float(r)) <= 1 for r in re.findall(r"above (-?[0-9.]+[0-9])", sentence))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({"mean": ["0.7", "0.8"], "sd": ["0.1", "0.1"]}, {},
         "how many runs are behind each mean? The table does not say: give n (--n)"),
        ({"mean": ["0.7", "0.8"], "sd": ["0.1", "0.1"], "n": ["3", "5"]}, {},
         "b has 5 runs and a 3: they cannot all be paired, and the curve over the correlation "
         "holds for pairs alone. Leave the arm out (--where), or, with a row for each run, compare "
         "them unpaired (--unpaired)"),
        ({"mean": ["0.7", "0.8"], "sd": ["0.1", "0.1"]}, {"n": 1},
         "b against a: one run has no SD; n is at least 2"),
        ({"mean": ["0.7", "about"], "sd": ["0.1", "0.1"]}, {"n": 3},
         "row 3 (b), column mean: 'about' is not a number as printed"),
        ({"mean": ["0.7", "0.8"], "sd": ["0.1", "0.1"], "n": ["3", "2.5"]}, {},
         "row 3 (b): column n holds '2.5', which is no number of runs"),
        ({"value": ["0.7", "0.8"], "sd": ["0.1", "0.1"]}, {"n": 3},
         "which column holds the means? Name it, --column mean=COLUMN (in Python "
         "columns={'mean': …})"),
    ],
)  # fmt: skip
def test_means_that_cannot_be_audited_say_why(columns, options, message):
    with pytest.raises(TableError) as refusal:
        audit(pd.DataFrame({"arm": ["a", "b"], **columns}), **options)
    assert str(refusal.value) == message
