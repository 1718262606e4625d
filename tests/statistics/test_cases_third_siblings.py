"""Tables of the known kinds, made afresh a second time by somebody who had mended none of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import llm4seg_probe as lp
from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.score_names import direction
from llm4seg_probe.statistics.audit.checks import unknown_patients

UNET = (0.741, 0.821, 0.797, 0.811, 0.803)
OURS = (0.750, 0.829, 0.807, 0.820, 0.812)


@pytest.fixture
def table(tmp_path: Path):
    def written(*lines: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return written


def wide(*names: str) -> tuple[str, str, str]:
    """A table with a column of numbers for each name."""
    return (
        ",".join(["method", *names]),
        ",".join(["unet", *map(str, UNET[: len(names)])]),
        ",".join(["ours", *map(str, OURS[: len(names)])]),
    )


def compared(path: Path, **options: object) -> tuple[dict, list[str], list[str]]:
    result = lp.compare(path, baseline="unet", **options)
    (row,) = result.table.to_dict("records")
    return (
        row,
        [one.what for one in result.findings if one.level == "doubt"],
        [one.what for one in result.findings if one.level == "note"],
    )


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
    row, _, notes = compared(table(*wide(*names)))
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)
    assert any("are read as seeds" in note for note in notes)


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
    row, _, notes = compared(path, fold="fold", test_share=0.2)
    assert row["n_seeds"] == 15
    assert any("divide the data anew" in note for note in notes)


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


# -- directions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Dice-Fehler", "perte Dice", "Dice-Verlust", "IoU-Abweichung", "écart Dice", "Δ Dice",
        "∆Dice", "Dice inverse", "complement of Dice", "Dice dissimilarity", "erreur de Dice",
        "Dice ↓", "IoU (lower is better)", "Loss ↑", "ASSD (higher is better)", "Dice ↑↓",
    ],
)  # fmt: skip
def test_names_that_do_not_tell_a_direction_are_asked_about(name: str) -> None:
    with pytest.raises(ConfigError, match="is a higher or a lower"):
        direction(name)
    assert direction(name, stated=True).lower_is_better


@pytest.mark.parametrize(
    ("name", "lower"),
    [
        ("Dice ↑", False), ("HD95 ↓ (mm)", True), ("HD95 (lower is better)", True),
        ("Irgendwas ↓", True), ("quelquechose (higher is better)", False),
        ("False negatives", True),
    ],
)  # fmt: skip
def test_an_arrow_in_the_name_counts(name: str, lower: bool) -> None:
    assert direction(name).lower_is_better is lower


# -- numbers, names ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [lp.compare, lp.plan, lp.audit])
@pytest.mark.parametrize("number", ["1e155", "-1e308", "9" * 120])
def test_what_nobody_measures_is_refused_by_row(table, number: str, command) -> None:
    lines = [f"unet,{k},4" for k in range(3)] + [f"ours,{k},3" for k in range(2)]
    path = table("method,seed,hd95", *lines, f"ours,2,{number}")
    with pytest.raises(TableError, match=r"table\.csv: row 7: hd95 .* larger than anything"):
        command(path)


@pytest.mark.parametrize(
    "names",
    [
        "P001-S000 P001-S001 P002-S000 P002-S001",
        "data/patient0/img1.png data/patient0/img2.png data/patient1/img1.png data/patient1/b.png",
        "s0_L s0_R s1_L s1_R",
        "0001_OD 0001_OS 0002_OD 0002_OS",
        "A_0001_LEFT_CC A_0001_LEFT_MLO A_0002_LEFT_CC A_0002_RIGHT_CC",
        "1_ED 1_ES 2_ED 2_ES",
        "img0_x256_y0 img0_x0_y0 img1_x0_y0 img1_x0_y256",
        "patient_001_slice_03 patient_001_slice_04 patient_002_slice_1 patient_002_slice_2",
    ],
)
def test_names_of_images_of_one_patient_are_doubted(names: str) -> None:
    doubts = [one.what for one in unknown_patients(pd.Series(names.split()))]
    assert any("look like 2 patients with several images each" in doubt for doubt in doubts)


@pytest.mark.parametrize("names", ["case_1 case_2 case_3", "a b c", "benign malignant", "x1 y1 x2"])
def test_names_of_images_that_share_nothing_are_not(names: str) -> None:
    levels = {one.level for one in unknown_patients(pd.Series(names.split()))}
    assert levels == {"note"}


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


# -- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04xxxx", "workbook of Excel"), (b"\x1f\x8b\x08\x00", "gunzip"),
        (b"PAR1xx", "Parquet"), (b'{"method": "unet"}\n', "is JSON"),
        ("method,seed,dice\n".encode("utf-16-be"), "Save it as UTF-8"),
        (b"unet,0,0.741\nours,0,0.75\n", "is the header missing"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_told_with_what_to_do(tmp_path, content: bytes, told: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(TableError, match=told):
        lp.compare(path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
def test_a_table_of_rs_write_table_is_read(tmp_path, encoding: str) -> None:
    lines = ['"method","seed","dice"']
    rows = [*(("unet", v) for v in UNET), *(("ours", v) for v in OURS)]
    lines += [f'"{n}","{arm}",{n % 5},{value}' for n, (arm, value) in enumerate(rows)]
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    row, _, notes = compared(path)
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)
    assert any("row names" in note for note in notes)


def test_two_tables_are_not_called_a_mixture(tmp_path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("method,seed,dice\nunet,0,0.7\n")
    with pytest.raises(TableError, match="2 CSV tables: one at a time is compared"):
        lp.compare([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_a_cell_of_another_kind_is_named_with_the_one_that_it_differs_from(table) -> None:
    path = table("Method,Dice,n", "unet,0.741,5", "ours,0.75 ± 0.02,5", "third,0.76 ± 0.01,5")
    with pytest.raises(TableError, match=r"'0\.741' is not a mean ± SD, as '0\.75 ± 0\.02' reads"):
        lp.audit(path)
    with pytest.raises(TableError, match=r"row 3: dice '0\.75 \[12\]' is not a number"):
        lp.compare(table("method,seed,dice", "unet,0,0.741", "ours,0,0.75 [12]"))


# -- baseline and margin -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arms", "base", "how"),
    [
        (("Ours", "UNet"), "UNet", "by its name"), (("Ours", "Theirs"), "Ours", "the first"),
        (("unet", "cnn"), "cnn", ""),
    ],
)  # fmt: skip
def test_the_baseline_is_found_alike_everywhere(table, arms, base: str, how: str) -> None:
    lines = [f"{arms[0]},{k},{value}" for k, value in enumerate(OURS)]
    lines += [f"{arms[1]},{k},{value}" for k, value in enumerate(UNET)]
    path = table("method,seed,dice", *lines)
    for command in (lp.compare, lp.plan, lp.audit):
        result = command(path)
        assert set(result.table["b"]) == {base}
        notes = [one.what for one in result.findings if one.what.startswith("baseline:")]
        assert how in (notes or [""])[0]


def test_a_plan_takes_the_margin_in_the_tables_unit(table) -> None:
    lines = [f"unet,{k},{100 * value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{100 * value + k % 2}" for k, value in enumerate(OURS)]
    result = lp.plan(table("method,seed,Dice (%)", *lines))
    assert set(result.table["margin"]) == {0.5}
    assert any("a difference of 0.5 is taken to matter" in one.what for one in result.findings)


# -- a third round: other languages, and exports -----------------------------------------------


@pytest.mark.parametrize(
    "name", ["Ø", "Mittelwert", "Moyenne", "gesamt", "promedio", "μ", "average (5 runs)", "best"]
)
def test_rows_that_sum_seeds_up_are_left_out_in_any_language(table, name: str) -> None:
    lines = [f"unet,{k},{value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{value}" for k, value in enumerate(OURS)]
    lines += [f"unet,{name},{np.mean(UNET)}", f"ours,{name},{np.mean(OURS)}"]
    row, doubts, _ = compared(table("method,seed,dice", *lines))
    assert row["n_seeds"] == 5
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)
    assert any("sum others up" in doubt for doubt in doubts)


@pytest.mark.parametrize(
    "names", [("Methode", "Startwert"), ("Modèle", "graine"), ("Modelo", "semilla")]
)
def test_columns_are_recognised_in_other_languages(table, names: tuple[str, str]) -> None:
    lines = [f"unet,{k},{value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{value}" for k, value in enumerate(OURS)]
    row, _, _ = compared(table(f"{names[0]},{names[1]},Dice", *lines))
    assert row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue)


def test_dice_beside_val_dice_is_of_training(table) -> None:
    lines = [f"unet,{k},0.9,{value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},0.{95 + k % 2},{value}" for k, value in enumerate(OURS)]
    row, _, _ = compared(table("method,seed,dice_coef,val_dice_coef", *lines))
    assert row["difference"] == pytest.approx(np.mean(OURS) - np.mean(UNET))


@pytest.mark.parametrize(
    "spreads", [("Dice MW", "Dice StAbw"), ("Dice moyenne", "Dice écart-type")]
)
def test_printed_means_are_read_in_other_languages(table, spreads: tuple[str, str]) -> None:
    path = table(f"Methode,{spreads[0]},{spreads[1]},n", "unet,85.3,1.2,5", "ours,88.4,1.1,5")
    (row,) = lp.audit(path).table.to_dict("records")
    expected = stats.ttest_ind_from_stats(88.4, 1.1, 5, 85.3, 1.2, 5)
    assert row["difference"] == pytest.approx(3.1)
    assert row["p_uncorrelated"] > expected.pvalue  # paired, with fewer degrees of freedom


def test_a_spread_in_another_unit_is_doubted(table) -> None:
    result = lp.audit(table("Method,Dice,n", "unet,85.3 ± 0.021,5", "ours,88.4 ± 1.2,5"))
    doubts = [one.what for one in result.findings if one.level == "doubt"]
    assert any("times as small or large as is usual" in doubt for doubt in doubts)


def test_two_ways_to_write_an_arm_are_doubted(table) -> None:
    lines = [f"{'U-Net' if k < 3 else 'UNet'},{k},{value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{value}" for k, value in enumerate(OURS)]
    result = lp.audit(table("method,seed,dice", *lines))
    assert any("differ in capitals, spaces or hyphens alone" in one.what for one in result.findings)


def test_a_thousand_columns_are_not_all_named(table) -> None:
    names = [f"x{k}" for k in range(1000)]
    path = table(",".join(["method", *names]), ",".join(["unet", *["0.5"] * 1000]))
    with pytest.raises(TableError) as refusal:
        lp.compare(path)
    assert len(str(refusal.value)) < 1000


def test_empty_rows_below_a_table_are_left_out_and_counted(table) -> None:
    lines = [f"unet,{k},{value}" for k, value in enumerate(UNET)]
    lines += [f"ours,{k},{value}" for k, value in enumerate(OURS)]
    row, _, notes = compared(table("method,seed,dice", *lines, ",,", ",,"))
    assert row["n_seeds"] == 5
    assert "2 empty rows below the table are left out" in notes
    with pytest.raises(TableError, match="row 7 is empty, with results below it"):
        lp.compare(table("method,seed,dice", *lines[:5], ",,", *lines[5:]))


@pytest.mark.parametrize(
    ("train", "test"), [("Trainset", "Testset"), ("in-sample", "out-of-sample")]
)
def test_of_two_sides_the_test_side_is_advised(table, train: str, test: str) -> None:
    lines = [
        f"{arm},{seed},{side},{value}"
        for arm, scores in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(scores)
        for side in (train, test)
    ]
    with pytest.raises(TableError, match=f"--where Partition={test}"):
        lp.compare(table("method,seed,Partition,dice", *lines))


def test_the_media_of_a_vessel_is_a_class_and_no_mean(table) -> None:
    lines = [
        f"{arm},{seed},{name},{value}"
        for arm, scores in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(scores)
        for name in ("lumen", "media")
    ]
    result = lp.compare(table("method,seed,class,dice", *lines), average_over=["class"])
    assert not [one for one in result.findings if "sum others up" in one.what]
