"""Which columns are seeds, which runs are none of their own, and what tells rows apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, compared, wide

import llm4seg_probe as lp
from llm4seg_probe.errors import TableError

# -- columns that are no seeds -----------------------------------------------------------------


def test_quartiles_are_no_seeds(table) -> None:
    path = table(
        "Method,count,mean,std,min,25%,50%,75%,max",
        "unet,5,.7946,.031,.741,.797,.803,.811,.821",
        "ours,5,.8036,.031,.75,.807,.812,.82,.829",
    )
    with pytest.raises(TableError, match="holds printed means with their spreads"):
        lp.compare(path)


@pytest.mark.parametrize(
    "names", [("50%", "60%", "70%"), ("rep 10%", "rep 20%"), ("256", "512", "1024"), ("1", "10")]
)
def test_shares_and_sizes_are_no_seeds(table, names: tuple[str, ...]) -> None:
    with pytest.raises(TableError, match=r"which column holds the score|do not follow one another"):
        lp.compare(table(*wide(*names)))


@pytest.mark.parametrize(
    "names", [("0", "1", "2", "3", "4"), ("seed 7", "seed 42", "seed 99", "seed 1", "seed 3")]
)
def test_seeds_in_columns_are_read(table, names: tuple[str, ...]) -> None:
    row, doubts, notes = compared(table(*wide(*names)))
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)
    told = doubts if names[0] == "0" else notes  # bare numbers may be anything
    assert any("are read as seeds" in each for each in told)


def test_numbered_regions_may_be_seeds(table) -> None:
    with pytest.raises(TableError, match="seeds, folds or regions"):
        lp.compare(table(*wide("dice_s0", "dice_s1", "dice_s2")))
    rows = ["method,seed,dice_1,dice_2"]
    for seed, (a, b) in enumerate(zip(UNET, OURS, strict=True)):
        rows += [f"unet,{seed},{a},{a}", f"ours,{seed},{b},{a}"]
    result = lp.compare(table(*rows), baseline="unet")
    assert len(result.table) == 2
    doubts = [one.what for one in result.findings if one.level == "doubt"]
    assert any("may be seeds or folds as well" in doubt for doubt in doubts)


def test_differences_and_ages_beside_arms_are_no_arms(table) -> None:
    lines = [
        f"{seed},{a},{b},{b - a:.3f},0.03,{40 + seed}"
        for seed, (a, b) in enumerate(zip(UNET, OURS, strict=True))
    ]
    row, _, notes = compared(table("seed,unet,ours,diff,p-value,age", *lines))
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)
    assert row["p_adjusted"] == row["p_t"]
    assert "not used: diff, p-value, age, no arms by their names" in notes


def test_of_a_grid_search_the_test_side_counts(table) -> None:
    def row(arm: str, train: tuple[float, ...], test: tuple[float, ...]) -> str:
        return ",".join(map(str, (arm, *train, *test, np.mean(test), np.std(test))))

    path = table(
        "param_method,split0_train_dice,split1_train_dice,split2_train_dice,split0_test_dice,"
        "split1_test_dice,split2_test_dice,mean_test_dice,std_test_dice",
        row("unet", (0.84, 0.92, 0.89), UNET[:3]),
        row("ours", (0.94, 0.99, 0.98), OURS[:3]),
    )
    found, _, notes = compared(path)
    assert found["sentence"].startswith("Supported: ours has a higher test_dice than unet")
    assert found["difference"] == pytest.approx(np.mean(OURS[:3]) - np.mean(UNET[:3]))
    assert any("not used: split0_train_dice" in note for note in notes)


# -- runs that are no runs of their own --------------------------------------------------------


def by_fold(seeds_of: dict[int, list[int]], cases: dict[int, list[str]] | None = None) -> list[str]:
    draw = np.random.default_rng(1)
    lines = ["method,fold,seed,image,dice" if cases else "method,fold,seed,dice"]
    for arm, scores in (("unet", UNET), ("ours", OURS)):
        for fold, seeds in seeds_of.items():
            for seed in seeds:
                for image in cases[fold] if cases else [None]:
                    value = f"{scores[fold] + draw.normal(0, 0.002):.4f}"
                    key = (arm, fold, seed) if image is None else (arm, fold, seed, image)
                    lines.append(",".join(map(str, (*key, value))))
    return lines


@pytest.mark.parametrize("with_cases", [False, True])
def test_seeds_that_share_a_fold_are_averaged(table, with_cases: bool) -> None:
    own = {fold: [10 * fold + k for k in range(3)] for fold in range(5)}
    crossed = {fold: [0, 1, 2] for fold in range(5)}
    images = {fold: [f"im{fold}{k}" for k in "ab"] for fold in range(5)}
    path = table(*by_fold(crossed if with_cases else own, images if with_cases else None))
    row, _, notes = compared(path, fold="fold", test_share=0.2)
    means = pd.read_csv(path).groupby(["method", "fold"])["dice"].mean().unstack("method")
    gaps = means["ours"] - means["unet"]
    assert row["n_seeds"] == 5
    assert row["difference"] == pytest.approx(gaps.mean())
    # Nadeau and Bengio: the variance of a mean over folds that share training data.
    t = gaps.mean() / np.sqrt(gaps.var(ddof=1) * (1 / 5 + 0.2 / 0.8))
    assert row["p_t"] == pytest.approx(2 * stats.t.sf(abs(t), 4))
    assert any("the seeds of a fold are averaged" in note for note in notes)


def test_seeds_that_divide_anew_are_runs_of_their_own(table) -> None:
    path = table(*by_fold({fold: [0, 1, 2] for fold in range(5)}))
    row, doubts, _ = compared(path, fold="fold", test_share=0.2)
    assert row["n_seeds"] == 15
    assert any("divide the data anew" in doubt for doubt in doubts)


@pytest.mark.parametrize(("one", "other"), [("ID", "OOD"), ("real", "synthetic")])
def test_a_column_called_mode_is_doubted_like_any_other(table, one: str, other: str) -> None:
    lines = ["method,seed,mode,image,dice"]
    for arm, scores in (("unet", UNET), ("ours", OURS)):
        lines += [
            f"{arm},{seed},{one if image < 3 else other},im{image},{value + image / 100}"
            for seed, value in enumerate(scores)
            for image in range(6)
        ]
    _, doubts, _ = compared(table(*lines))
    assert any(f"cases of mode {one}, {other} are averaged together" in doubt for doubt in doubts)
    lines = [line.replace(one, "entraînement").replace(other, "essai") for line in lines]
    with pytest.raises(TableError, match="several values of mode"):
        lp.compare(table(*lines))


def test_one_measurement_of_each_arm_is_no_comparison(table) -> None:
    with pytest.raises(TableError, match="each arm was measured once"):
        lp.compare(table("method,dice", "unet,0.7", "ours,0.8"))


# -- how rows are told apart -------------------------------------------------------------------


def test_one_unit_of_the_last_digit_is_no_outlier(table) -> None:
    lines = [f"unet,{k},{value}" for k, value in enumerate((0.741, 0.797, 0.811, 0.803))]
    lines += [f"ours,{k},{value}" for k, value in enumerate((0.750, 0.807, 0.820, 0.812))]
    _, doubts, notes = compared(table("method,seed,dice", *lines))
    assert not [told for told in (*doubts, *notes) if "far from the others" in told]


@pytest.mark.parametrize(
    ("column", "values", "remedy"),
    [
        ("rater", "AB", "choose one value of it first"),
        ("lr", (0.001, 0.0001), r"they differ in lr \(0.001, 0.0001\)"),
        ("z", (0, 1), "--case z --group case"),
    ],
)
def test_rows_that_differ_in_one_column_are_told_by_it(table, column, values, remedy) -> None:
    lines = [
        f"{arm},{seed},c{case},{0.7 + 0.01 * seed + shift + 0.001 * case * n},{value}"
        for arm, shift in (("unet", 0), ("ours", 0.02))
        for seed in range(3)
        for case in range(4)
        for n, value in enumerate(values)
    ]
    path = table(f"method,seed,case,dice,{column}", *lines)
    with pytest.raises(TableError, match=remedy):
        lp.compare(path)
    faults = [one.what for one in lp.audit(path).findings if one.level == "fault"]
    assert not [fault for fault in faults if "appear twice" in fault]


def test_frames_are_numbered_anew_in_each_video(table) -> None:
    lines = [
        f"{arm},{seed},{value + 0.01 * video + 0.001 * frame},{frame},v{video}"
        for arm, scores in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(scores)
        for video in range(3)
        for frame in range(4)
    ]
    with pytest.raises(TableError, match="--case frame --group video"):
        lp.compare(table("method,seed,dice,frame,video", *lines))


def test_folds_that_no_case_shares_between_arms_are_refused(table) -> None:
    lines = [
        f"{arm},{fold + (arm == 'ours')},c{fold}{k},{scores[fold]}"
        for arm, scores in (("unet", UNET), ("ours", OURS))
        for fold in range(5)
        for k in "ab"
    ]
    with pytest.raises(TableError, match="no case is in the same fold in two arms"):
        lp.compare(table("method,fold,case,dice", *lines), fold="fold", test_share=0.2)


def test_arms_that_look_alike_are_doubted(table) -> None:
    lines = [f"unet,{k},{value}" for k, value in enumerate(UNET)]
    lines += [f"{'ours' if k < 3 else 'оurs'},{k},{value}" for k, value in enumerate(OURS)]
    result = lp.audit(table("method,seed,dice", *lines))
    assert any("look alike" in one.what for one in result.findings if one.level == "doubt")


def test_classes_without_an_arm_are_no_arms(table) -> None:
    lines = [f"p{k},{0.5 + k / 10},1.0" for k in range(4)]
    with pytest.raises(TableError, match="class0, class1 are classes"):
        lp.audit(table("filename,class0,class1", *lines))


def test_fold_columns_called_f_are_folds(table) -> None:
    row, _, notes = compared(table(*wide("F1", "F2", "F3", "F4", "F5")), test_share=0.2)
    assert row["n_seeds"] == 5
    assert any("are read as folds" in note for note in notes)
