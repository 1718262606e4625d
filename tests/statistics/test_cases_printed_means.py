"""Printed means as papers write them: units of SDs, several columns, what cannot be, spreads."""

import numpy as np
import pytest
from scipy import stats
from strangers import tell


def uncorrelated(difference, sds, n=5):
    """p of the paired t-test by hand, for pairs that do not correlate."""
    return 2 * stats.t.sf(abs(difference) * np.sqrt(n) / np.hypot(*sds), n - 1)


def dice(first, second, header="model,Dice,n", n=5):
    return f"{header}\nunet,{first},{n}\nours,{second},{n}\n"


# -- units -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "difference", "sds"),
    [
        (("0.80 ± 4.0%", "0.82 ± 5.0%"), 0.02, (0.04, 0.05)),
        (("0.80 (4.0 %)", "0.82 (5.0 %)"), 0.02, (0.04, 0.05)),
        ((r"0.80 $\pm$ 4.0\%", r"0.82 $\pm$ 5.0\%"), 0.02, (0.04, 0.05)),
        (("0.80 ± 40‰", "0.82 ± 50‰"), 0.02, (0.04, 0.05)),
        (("0.80 ± 4.0%", "0.82 ± 0.05"), 0.02, (0.04, 0.05)),
        (("80.0% ± 4.0", "82.0% ± 5.0"), 2, (4, 5)),
        (("80.0 ± 4.0%", "82.0 ± 5.0%"), 2, (4, 5)),
        (("80.0% ± 4.0%", "82.0% ± 5.0%"), 2, (4, 5)),
        (("80.0% (4.0)", "82.0% (5.0)"), 2, (4, 5)),
        (("(80.0 ± 4.0) %", "(82.0 ± 5.0)%"), 2, (4, 5)),
        (("80.0 (4.0) %", "82.0 (5.0) %"), 2, (4, 5)),
        (("80.0% ± 40‰", "82.0% ± 50‰"), 2, (4, 5)),
        (("0.80 ± 0.4%", "0.82 ± 0.5%"), 0.02, (0.004, 0.005)),
        (("800‰ ± 40‰", "820‰ ± 50‰"), 2, (4, 5)),
        (("80.00% ± 0.40", "82.00% ± 0.50"), 2, (0.4, 0.5)),
    ],
)
def test_each_number_is_read_in_the_unit_behind_it(tmp_path, cells, difference, sds):
    told = tell(tmp_path, "audit", dice(*cells))
    assert told.code == 0, told.text
    assert told.row["difference"] == pytest.approx(difference)
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(difference, sds))
    assert told.row["margin"] == (0.5 if difference == 2 else 0.005)


def test_what_a_per_cent_beside_a_fraction_was_read_as_is_told(tmp_path):
    told = tell(tmp_path, "audit", dice("0.80 ± 4.0%", "0.82 ± 5.0%"))
    assert "2 rows are read in the unit of their means" in told.text
    assert "4.0% as 0.04, of the score and not of the mean" in told.text
    digits = tell(tmp_path, "audit", dice("80.00% ± 0.40", "82.00% ± 0.50"))
    assert "are read in per cent like their means, by their digits" in digits.text


def test_the_sign_in_the_head_of_a_column_of_sds_counts(tmp_path):
    body = "\nunet,0.80,4.0,5\nours,0.82,5.0,5\n"
    told = tell(tmp_path, "audit", f"model,Dice,Dice SD (%),n{body}")
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(0.02, (0.04, 0.05)))
    cells = tell(tmp_path, "audit", "model,Dice,Dice SD,n\nunet,80.0%,4.0,5\nours,82.0%,5.0,5\n")
    assert cells.row["p_uncorrelated"] == pytest.approx(uncorrelated(2, (4, 5)))


@pytest.mark.parametrize(
    ("cells", "where", "told"),
    [
        (("80% ± 0.04", "82% ± 0.05"), "row 2 (unet)", "leaves open whether the spread is of a"),
        (("800‰ ± 40", "820‰ ± 50"), "row 2 (unet)", "leaves the unit of the spread open"),
        (("80.0 ± 4‰", "82.0 ± 5‰"), "row 2 (unet)", "may be in ‰ both or the spread alone"),
        (("0.80 ± 0.04%", "0.82 ± 0.05%"), "row 2 (unet)", "may be 0.04 % or, by its digits, 0.04"),
        (("0.80 ± 0.04", "82% ± 5%"), "row 3 (ours)", "1 of 2 means are marked with %"),
    ],
)
def test_a_unit_that_is_open_is_asked_for(tmp_path, cells, where, told):
    found = tell(tmp_path, "audit", dice(*cells))
    assert found.code == 2
    assert f"{where}, column Dice" in found.text
    assert told in found.text


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("hd95", ("20.0 ± 4%", "18.0 ± 5%")),
        ("error rate", ("0.8 ± 0.1%", "0.9 ± 0.2%")),
        ("Dice (%)", ("0.80 ± 4%", "0.82 ± 5%")),
    ],
)
def test_a_per_cent_that_may_be_of_two_things_is_asked_about(tmp_path, name, cells):
    told = tell(tmp_path, "audit", dice(*cells, header=f"model,{name},n"), "--baseline", "unet")
    assert (told.code, told.text.count("give both in one unit")) == (2, 1)
    assert f"row 2 (unet), column {name}" in told.text


def test_errors_of_less_than_one_per_cent_are_held_to_a_margin_of_their_unit(tmp_path):
    text = dice("0.8% ± 0.1%", "1.2% ± 0.2%", header="model,error rate,n")
    told = tell(tmp_path, "audit", text)
    assert told.row["difference"] == pytest.approx(0.004)
    assert told.row["margin"] == 0.005
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(0.4, (0.1, 0.2)))
    assert "doubt: error rate: the means are of at most 1.2 per cent" in told.text


# -- several columns -------------------------------------------------------------------------


def test_columns_are_not_compared_with_each_other_whatever_they_are_called(tmp_path):
    text = (
        "model,Dice WT,Dice Average,Dice (mean),n\n"
        "unet,90 ± 1,80 ± 1,81 ± 1,5\nours,91 ± 1,82 ± 1,80 ± 1,5\n"
    )
    rows = tell(tmp_path, "audit", text).rows
    assert list(rows["dataset"]) == ["WT", "Dice Average", "Dice (mean)"]
    assert list(rows["difference"]) == pytest.approx([1, 2, -1])


@pytest.mark.parametrize(
    "names",
    [("mDice", "Dice"), ("Dice", "Dice score"), ("Dice max", "Dice min"), ("mIoU", "IoU (%)")],
)
def test_two_names_of_one_score_stay_two_columns(tmp_path, names):
    text = f"model,{names[0]},{names[1]},n\nunet,80 ± 1,70 ± 1,5\nours,82 ± 1,69 ± 1,5\n"
    rows = tell(tmp_path, "audit", text).rows
    told = list(zip(rows["dataset"].astype(str), rows["score"], strict=True))
    assert len(set(told)) == 2  # by the column, or by what the score is called there
    assert list(rows["difference"]) == pytest.approx([2, -1])


def test_one_column_of_means_is_compared_once_though_it_has_two_spreads(tmp_path):
    text = "model,dice,dice_sd,dice_se,dice_ci95,n\nunet,80,2,1,2,4\nours,83,2,1,2,4\n"
    told = tell(tmp_path, "audit", text)
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(3, (2, 2), 4))
    assert "not used: dice_se, dice_ci95" in told.text
    both = tell(tmp_path, "audit", text.replace("dice_se", "dice_std"))
    assert (both.code, "columns dice_sd and dice_std are both spreads of dice" in both.text) == (
        2,
        True,
    )


def test_an_sd_that_may_be_of_two_scores_is_asked_about(tmp_path):
    text = "model,dice,hd95,sd,n\nunet,80,20,2,4\nours,83,18,2,4\n"
    told = tell(tmp_path, "audit", text)
    assert (told.code, "column sd may be of dice or hd95" in told.text) == (2, True)
    named = tell(tmp_path, "audit", text, "--column", "mean=dice")
    assert named.row["p_uncorrelated"] == pytest.approx(uncorrelated(3, (2, 2), 4))


# -- what cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("120.4 ± 1.0", "120.4 cannot be, as Dice lies between 0 and 100 %"),
        ("-3.0 ± 1.0", "-3 cannot be, as Dice lies between 0 and 100 %"),
        ("85.3 ± -2.1", "-2.1 cannot be an SD, which has no sign"),
        ("85.3 ± −2.1", "-2.1 cannot be an SD, which has no sign"),
        ("85.3 (+2.1)", "+2.1 cannot be an SD, which has no sign"),
        # Of five values between 0 and 100 with a mean of 98, sqrt(98 · 2 · 5/4) is the largest SD.
        ("98.0 ± 30.0", "an SD of 30 cannot be"),
    ],
)
def test_values_that_cannot_be_are_refused_by_row_and_column(tmp_path, cell, told):
    found = tell(tmp_path, "audit", dice("84.0 ± 1.0", cell))
    assert found.code == 2
    assert f"row 3 (ours), column Dice: {told}" in found.text


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (("0.80", "1.20", "0.04"), "column Dice: 1.2 cannot be, as Dice lies between 0 and 1:"),
        (("0.80", "0.82", "-0.04"), "column Dice SD: -0.04 cannot be an SD"),
        (("0.80", "0.82", "4.0"), "column Dice SD: an SD of 4 cannot be"),
        (("0.80", "0.82", "about"), "column Dice SD: 'about' is not a number as printed"),
    ],
)
def test_columns_of_their_own_are_held_to_the_same(tmp_path, cells, told):
    text = f"model,Dice,Dice SD,n\nunet,{cells[0]},0.04,5\nours,{cells[1]},{cells[2]},5\n"
    found = tell(tmp_path, "audit", text)
    assert (found.code, f"row 3 (ours), {told}" in found.text) == (2, True), found.text


def test_the_largest_sds_that_can_be_are_read(tmp_path):
    values = np.array([100, 100, 100, 100, 0.0])
    cell = f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"
    told = tell(tmp_path, "audit", dice("80.0 ± 1.0", cell))
    assert told.code == 0, told.text


@pytest.mark.parametrize(
    ("name", "cells"),
    [("hd95", ("120.4 ± 90", "110.0 ± 99")), ("gain", ("-3.0 ± 1.0", "2.0 ± 1.0")),
     ("WER", ("0.90 ± 0.1", "1.20 ± 0.1"))],
)  # fmt: skip
def test_scores_of_another_range_are_not_held_to_that_of_fractions(tmp_path, name, cells):
    told = tell(tmp_path, "audit", dice(*cells, header=f"model,{name},n"))
    assert told.code == 0, told.text
    assert len(told.rows) == 1


def test_a_distance_below_zero_is_refused(tmp_path):
    told = tell(tmp_path, "audit", dice("20 ± 4", "-1 ± 0", header="model,HD95,n"))
    assert "row 3 (ours), column HD95: -1 cannot be" in told.text
    assert "is never below zero" in told.text


def test_rows_are_told_by_their_place_in_the_file(tmp_path):
    text = "model,set,Dice,n\nunet,A,80 ± 1,5\nours,A,81 ± 1,5\nunet,B,80 ± 1,5\nours,B,181 ± 1,5\n"
    told = tell(tmp_path, "audit", text, "--where", "set=B")
    assert "row 5 (ours), column Dice: 181 cannot be" in told.text
    assert tell(tmp_path, "audit", text, "--where", "set=A").row["difference"] == pytest.approx(1)


# -- rows that are no arms -------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Δ", "delta", "Difference", "improvement", "p-value", "p", "Gain over unet", "Rank",
     "Avg. rank", r"$\Delta$", "**Δ (%)**", "p (t-test)", "Wilcoxon p", "Absolute gain"],
)  # fmt: skip
@pytest.mark.parametrize("cell", ["2.0", "+2.0 ± 1.0", "-2.0 ± 1.0", "<0.001", ""])
def test_rows_that_are_no_arms_are_left_out_and_named(tmp_path, name, cell):
    told = tell(tmp_path, "audit", dice("80 ± 1", "82 ± 1") + f"{name},{cell},\n")
    assert told.code == 0, told.text
    assert (told.row["a"], told.row["difference"]) == ("ours", pytest.approx(2))
    assert "1 of 3 rows are differences, p-values, ranks or means and no arms" in told.text
    assert "(row 4): left out" in told.text
    assert "2 arms" in told.text


def test_several_rows_that_are_no_arms_do_not_hide_that_means_are_printed(tmp_path):
    below = "Δ,+2.0,\np-value,0.03,\nRank,1,\n"
    told = tell(tmp_path, "audit", dice("80 ± 1", "82 ± 1") + below)
    assert told.row["difference"] == pytest.approx(2)
    assert "Δ (row 4), p-value (row 5), Rank (row 6): left out" in told.text


@pytest.mark.parametrize("name", ["DeltaNet", "Delta-Net", "Rank-1 LoRA", "P-Net", "GainUNet"])
def test_arms_whose_names_only_begin_so_stay(tmp_path, name):
    told = tell(tmp_path, "audit", dice("80 ± 1", "82 ± 1").replace("ours", name))
    assert told.row["a"] == name


def test_an_arm_that_the_user_named_is_one_whatever_it_is_called(tmp_path):
    text = dice("80 ± 1", "82 ± 1").replace("unet", "p")
    assert tell(tmp_path, "audit", text, "--baseline", "p").row["b"] == "p"
    refused = tell(tmp_path, "audit", text)
    assert refused.code == 2
    assert "p (row 2) of column model are taken for differences" in refused.text


def test_an_empty_number_of_runs_is_asked_for(tmp_path):
    told = tell(tmp_path, "audit", "model,Dice,n\nunet,80 ± 1,5\nours,82 ± 1,\n")
    assert (told.code, "row 3 (ours), column n is empty" in told.text) == (2, True)


# -- spreads ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["dice_var", "dice_variance", "Dice variance", "var_dice", "variance", "var"]
)
def test_variances_are_turned_into_sds_and_told(tmp_path, name):
    text = f"model,dice,{name},n\nunet,0.80,0.0004,5\nours,0.82,0.0009,5\n"
    told = tell(tmp_path, "audit", text)
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(0.02, (0.02, 0.03)))
    assert "the variances are turned into SDs, by their square root" in told.text
    assert "one run per arm" not in told.text
    compared = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert (compared.code, "holds printed means with their spreads" in compared.text) == (2, True)


def test_the_rounding_of_a_variance_reaches_its_sd(tmp_path):
    told = tell(tmp_path, "audit", "model,dice,dice_var,n\nunet,80,4.0,5\nours,82,4.0,5\n")
    # By hand: SDs between sqrt(3.95) and sqrt(4.05), means that differ by 1 to 3.
    t = stats.t.ppf(0.975, 4)
    worst = 1 - (1 * np.sqrt(5) / t) ** 2 / (2 * (2 + (2 - np.sqrt(3.95))) ** 2)
    assert told.row["crossing_high"] == pytest.approx(worst, abs=1e-6)
    headed = tell(tmp_path, "audit", dice("80 ± 4.0", "82 ± 4.0", "model,Dice (mean ± var),n"))
    assert headed.row["p_uncorrelated"] == pytest.approx(uncorrelated(2, (2, 2)))


def test_a_column_called_var_that_names_variants_is_no_variance(tmp_path):
    text = "model,var,dice\nunet,a,0.80\nours,b,0.82\n"
    assert "variance" not in tell(tmp_path, "audit", text).text


@pytest.mark.parametrize(
    "names",
    [("dice_ci95",), ("dice_ci",), ("Dice 95% CI",), ("95% CI",), ("dice_ci_low", "dice_ci_high"),
     ("ci95_dice",), ("dice_margin_of_error",)],
)  # fmt: skip
def test_an_interval_alone_is_asked_about(tmp_path, names):
    text = f"model,dice,{','.join(names)},n\n" + "".join(
        f"{arm},{mean},{','.join(['0.04'] * len(names))},5\n"
        for arm, mean in (("unet", 0.8), ("ours", 0.82))
    )
    told = tell(tmp_path, "audit", text)
    assert told.code == 2
    assert "dice has no SD beside it, only" in told.text
    assert f"confidence interval{'s' if len(names) > 1 else ''} ({', '.join(names)})" in told.text
    assert "one run per arm" not in told.text


def test_a_score_with_an_interval_alone_is_named_beside_one_with_sds(tmp_path):
    text = "model,dice,dice_sd,iou,iou_ci95,n\nunet,80,2,70,3,4\nours,83,2,74,3,4\n"
    told = tell(tmp_path, "audit", text)
    assert told.row["score"] == "dice"
    assert "doubt: not compared: iou has no SD beside it, only a confidence interval" in told.text


def test_an_interval_that_the_user_calls_sds_is_read_as_such_and_doubted(tmp_path):
    text = "model,dice,dice_ci95,n\nunet,80,2,4\nours,83,2,4\n"
    told = tell(tmp_path, "audit", text, "--column", "sd=dice_ci95")
    assert told.row["p_uncorrelated"] == pytest.approx(uncorrelated(3, (2, 2), 4))
    assert "dice_ci95 is named like an interval, and read as SDs, as given" in told.text


TAKEN = "taken for that of the runs (n − 1), not of cases, nor a standard error"


def test_what_the_spreads_are_taken_for_is_one_true_sentence(tmp_path):
    head = "unet,80,2,70,1,4\nours,83,2,74,1,4\n"
    sds = tell(tmp_path, "audit", f"model,dice,dice_sd,iou,iou_sd,n\n{head}").text
    assert f"each SD is {TAKEN}" in sds
    assert "turned into" not in sds
    errors = tell(tmp_path, "audit", f"model,dice,dice_se,iou,iou_se,n\n{head}").text
    assert "the standard errors are turned into SDs, by the root of the number of runs" in errors
    assert "nor a standard error" not in errors
    both = tell(tmp_path, "audit", f"model,dice,dice_sd,iou,iou_se,n\n{head}")
    assert f"each SD in dice_sd is {TAKEN}; the standard errors in iou_se are turned" in both.text
    rows = both.rows.set_index("score")
    assert rows.loc["dice", "p_uncorrelated"] == pytest.approx(uncorrelated(3, (2, 2), 4))
    assert rows.loc["iou", "p_uncorrelated"] == pytest.approx(uncorrelated(4, (2, 2), 4))
