"""Tables of the known kinds, made afresh a fourth time by somebody who had mended none of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy import stats
from strangers import OURS, UNET, per_seed_csv, tell

P = float(stats.ttest_rel(OURS, UNET).pvalue)
"""Of the paired t-test over the five seeds."""


def swapped(header: str) -> str:
    """Ours is lower than unet in each of five seeds."""
    return per_seed_csv(UNET, OURS, header=f"method,seed,{header}")


@pytest.mark.parametrize(
    "name",
    ["score (lower is better)", "score ↓", "score (↓)", "Score↓ (mm)", "score (lower better)",
     "result (smaller is better)", "Metric (less is better)"],
)  # fmt: skip
def test_the_audit_reads_the_direction_that_a_column_states(tmp_path: Path, name: str) -> None:
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, swapped(name))
        assert result.row["verdict"] == "supported", (command, result.text)


@pytest.mark.parametrize(
    "name",
    ["accuracy (drop)", "dice (gap)", "-Dice", "mIoU ↓", "Dice ↓", "HD95 ↑", "loss ↑", "-HD95",
     "Dice (1-x)"],
)  # fmt: skip
def test_a_column_that_says_two_things_is_asked_about_by_both(tmp_path: Path, name: str) -> None:
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, swapped(name))
        assert result.code == 2
        assert "add --higher-is-better or --lower-is-better" in result.text


def test_printed_means_under_a_mark_that_contradicts_their_score(tmp_path: Path) -> None:
    table = "Method,Dice ↓\nunet,85.3 ± 0.4\nours,84.9 ± 0.3\n"
    assert "Its name says one thing by its mark" in tell(tmp_path, "audit", table, "--n", 5).text
    stated = tell(tmp_path, "audit", table, "--n", 5, "--lower-is-better")
    assert stated.code == 0


@pytest.mark.parametrize("unit", ["Fold", "Seed"])
def test_a_mean_with_the_spread_of_its_cases_in_each_run(tmp_path: Path, unit: str) -> None:
    rows = [
        f"{name},{run},{100 * value:.1f} ± 2.{run}"
        for name, values in (("unet", UNET), ("ours", OURS))
        for run, value in enumerate(values)
    ]
    table = "\n".join([f"Method,{unit},Dice", *rows]) + "\n"
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, table)
        assert "the mean is taken for the score of one run" in result.text
        assert result.row["n_seeds"] == 5
        assert result.row["difference"] == pytest.approx(0.9)
        if unit == "Seed":
            assert result.row["p_t"] == pytest.approx(P)


def test_seeds_of_128_bits_are_told_apart(tmp_path: Path) -> None:
    large = ("243799254704924441050048792905230269161", "99999999999999999999999999")
    rows = ["method,seed,dice", "unet,1,.80", "unet,2,.81", f"unet,{large[0]},.60"]
    rows += ["ours,1,.83", "ours,2,.82", f"ours,{large[1]},.90"]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n")
    assert f"seeds {large[1]} of ours have no partner" in result.text
    rows[6] = f"ours,{large[0]},.90"
    assert tell(tmp_path, "compare", "\n".join(rows) + "\n").row["n_seeds"] == 3


def of_patients(unet, ours) -> str:
    """24 cases of 12 patients; how each arm writes a patient."""
    rows = ["method,seed,case,patient,dice"]
    for arm, write in (("unet", unet), ("ours", ours)):
        rows += [
            f"{arm},{seed},c{case:02d},{write(case // 2)},"
            f"{0.7 + 0.01 * case + (arm == 'ours') * (0.02 + 0.001 * (case % 5) * seed):.4f}"
            for seed in (1, 2, 3)
            for case in range(24)
        ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("unet", "told"),
    [
        ("p{}".format, "names that differ in capitals only are taken for one"),
        (lambda number: "", "72 are filled from other rows of the same case"),
        (lambda number: "" if number % 2 else f"P{number}", "are filled from other rows"),
    ],
)
def test_patients_in_other_capitals_or_left_blank_in_one_arm(tmp_path: Path, unet, told) -> None:
    same = tell(tmp_path, "compare", of_patients("P{}".format, "P{}".format), "--bootstrap", 200)
    result = tell(tmp_path, "compare", of_patients(unet, "P{}".format), "--bootstrap", 200)
    assert told in result.text
    assert "no patient" not in result.text
    assert result.row["n_groups"] == same.row["n_groups"] == 12
    assert result.row["case_low"] == pytest.approx(same.row["case_low"])


def test_spreads_that_are_fractions_under_means_in_per_cent(tmp_path: Path) -> None:
    table = "method,dice_mean,dice_std,n\nunet,85.3,0.021,5\nours,86.1,0.019,5\n"
    told = "no spread is above 0.021: are the spreads fractions (2.1 %)?"
    assert told in tell(tmp_path, "audit", table).text


@pytest.mark.parametrize("name", ["Average", "Mean", "mean of all methods", "Std"])
def test_a_row_that_sums_the_arms_up_is_no_arm(tmp_path: Path, name: str) -> None:
    table = f"Method,Dice,n\nUNet,85.3 ± 0.4,5\nOurs,86.1 ± 0.3,5\n{name},85.7 ± 0.4,5\n"
    result = tell(tmp_path, "audit", table)
    assert len(result.rows) == 1
    assert f"{name} (row 4): left out" in result.text
    seeds = per_seed_csv() + "".join(f"{name},{seed},0.8\n" for seed in range(5))
    single = tell(tmp_path, "compare", seeds)
    assert single.row["a"] == "ours"
    assert f"rows of {name} (method) tell of the other arms" in single.text


def test_an_arm_that_is_called_mean_teacher_is_one(tmp_path: Path) -> None:
    table = per_seed_csv(names=("Mean Teacher", "unet"))
    assert tell(tmp_path, "compare", table).row["a"] == "Mean Teacher"


@pytest.mark.parametrize(("odd", "others"), [(1.2, 0.8), (1.02, 0.8), (104.3, 80.0)])
def test_fractions_beyond_the_whole_are_refused(tmp_path: Path, odd: float, others: float) -> None:
    table = per_seed_csv((others, others + 0.01, odd), (others, others + 0.02, others + 0.03))
    result = tell(tmp_path, "compare", table)
    assert result.code == 2
    assert f"ours 2: {odd:g}" in result.text


def test_rounded_sums_of_parts_may_be_the_whole(tmp_path: Path) -> None:
    table = per_seed_csv((1.0, 0.99, 1.0000001), (0.97, 0.98, 0.99))
    assert tell(tmp_path, "compare", table).code == 0


def test_a_margin_within_which_all_is_equivalent(tmp_path: Path) -> None:
    told = "a margin of 0.5 is 50 % of all that Dice can be"
    assert told in tell(tmp_path, "compare", per_seed_csv(), "--margin", 0.5).text
    assert "can be: within it" not in tell(tmp_path, "compare", per_seed_csv()).text


def test_columns_called_by_years(tmp_path: Path) -> None:
    table = "model,2019,2020,2021\nunet,.80,.60,.70\nours,.82,.63,.72\n"
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, table)
        assert result.code == 2
        assert "are called by numbers of years" in result.text


def test_columns_called_by_bare_numbers_are_a_doubt(tmp_path: Path) -> None:
    table = "model,1,2,3\nunet,.80,.60,.70\nours,.82,.63,.72\n"
    told = "doubt: the columns 1, 2, 3 are read as seeds, one row for each, by their numbers alone"
    assert told in tell(tmp_path, "compare", table).text


@pytest.mark.parametrize("header", ["{}_seed{}", "{} run {}", "dice_{}_seed{}"])
def test_a_column_for_each_run_of_each_arm(tmp_path: Path, header: str) -> None:
    names = [header.format(arm, seed) for arm in ("unet", "ours") for seed in (1, 2, 3)]
    table = f"case,{','.join(names)}\na,.80,.81,.79,.82,.83,.85\nb,.70,.71,.69,.72,.75,.72\n"
    result = tell(tmp_path, "compare", table, "--score", "dice")
    differences = [0.02, 0.03, 0.045]  # of the means over both cases, by seed
    assert result.row["difference"] == pytest.approx(sum(differences) / 3)
    assert result.row["p_t"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert "are read as seeds of the arms unet, ours" in result.text


def test_runs_in_per_cent_by_their_header(tmp_path: Path) -> None:
    table = "method,Run 1 (%),Run 2 (%),Run 3 (%)\nunet,80,81,82\nours,82,84,84\n"
    assert tell(tmp_path, "compare", table).row["n_seeds"] == 3


def test_a_long_table_of_several_scores(tmp_path: Path) -> None:
    rows = ["model,seed,case,metric,value"]
    rows += [
        f"{arm},{seed},{case},{metric},{value + 0.01 * seed}"
        for arm in ("unet", "ours")
        for seed in (1, 2)
        for case in "ab"
        for metric, value in (("Dice", 0.8), ("HD95", 5))
    ]
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, "\n".join(rows) + "\n")
        assert result.code == 2
        assert "choose one, --where metric=Dice" in result.text
        assert "--case metric" not in result.text


def test_cases_that_are_called_otherwise_in_each_arm(tmp_path: Path) -> None:
    rows = ["method,seed,case,dice"]
    for arm, form in (("unet", "c{}.nii.gz"), ("ours", "c{}_pred.nii.gz")):
        rows += [f"{arm},{s},{form.format(c)},{0.8 + 0.01 * s}" for s in (1, 2) for c in (1, 2)]
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, "\n".join(rows) + "\n")
        assert "write each case alike in all arms" in result.text


def test_endings_are_dropped_where_names_come_again_in_other_folders(tmp_path: Path) -> None:
    rows = ["method,seed,case,dice"]
    for arm, ending in (("unet", ".nii.gz"), ("ours", "")):
        rows += [
            f"{arm},{s},site{place}/001{ending},{0.8 + 0.01 * s + (arm == 'ours') * 0.01 * (s + 1)}"
            for s in (1, 2, 3)
            for place in "AB"
        ]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n")
    assert result.row["n_cases"] == 2
    assert result.row["difference"] == pytest.approx(0.03)


def test_an_arm_without_its_spread_is_named(tmp_path: Path) -> None:
    table = "method,Dice,n\nunet,85.3 ± 0.4,5\nOurs,-,5\n"
    told = "only one arm has a mean with its SD: row 3 (Ours), column Dice is empty"
    assert told in tell(tmp_path, "audit", table).text


def test_rows_that_nothing_tells_apart_are_those_of_one_arm(tmp_path: Path) -> None:
    table = "Method,Dice\nunet,85.3 ± 0.4\nours,86.9 ± 0.3\nunet,5.3 ± 0.4\nours,4.9 ± 0.3\n"
    assert "rows 2, 4 are all of unet" in tell(tmp_path, "audit", table, "--n", 5).text


def test_a_number_of_runs_against_the_column(tmp_path: Path) -> None:
    table = "method,dice_mean,dice_std,n\nunet,85.3,0.4,5\nours,86.1,0.3,5\n"
    assert "n = 3, as given; column n says 5" in tell(tmp_path, "audit", table, "--n", 3).text


def test_a_title_above_the_header(tmp_path: Path) -> None:
    table = "Results of our study;;\n" + per_seed_csv().replace(",", ";")
    result = tell(tmp_path, "compare", table)
    assert result.row["p_t"] == pytest.approx(P)
    assert "1 lines above the header are left out: Results of our study" in result.text


def test_a_table_of_markdown_below_prose(tmp_path: Path) -> None:
    lines = [f"| {line.replace(',', ' | ')} |" for line in per_seed_csv().splitlines()]
    lines.insert(1, "|---|---|---|")
    result = tell(tmp_path, "compare", "We trained two networks.\n\n" + "\n".join(lines) + "\n")
    assert result.row["p_t"] == pytest.approx(P)
    assert "lines above the header are left out: We trained two networks" in result.text


def test_a_header_of_two_lines_as_pandas_writes_it(tmp_path: Path) -> None:
    table = ",dice,dice,dice\n,mean,std,count\nmethod,,,\nunet,80,1,5\nours,83,1,5\n"
    plain = "method,dice_mean,dice_std,n\nunet,80,1,5\nours,83,1,5\n"
    joined, usual = (tell(tmp_path, "audit", text, "--n", 5) for text in (table, plain))
    assert joined.row["p_uncorrelated"] == usual.row["p_uncorrelated"]
    assert "the header has two lines: they are joined" in joined.text


@pytest.mark.parametrize(
    "name", ["FNR", "ICC", "LPIPS", "MAPE", "Boundary IoU", "AJI", "VOE", "F2", "SNR"]
)
def test_a_score_is_called_what_its_column_says(tmp_path: Path, name: str) -> None:
    table = per_seed_csv(header=f"method,seed,{name}")
    said = [tell(tmp_path, command, table).row["sentence"] for command in ("compare", "audit")]
    assert all(f" {name} than unet" in sentence for sentence in said), said
    printed = f"method,{name},sd,n\nunet,0.5,0.1,5\nours,0.6,0.1,5\n"
    assert tell(tmp_path, "audit", printed).row["score"] == name


def test_a_table_in_shift_jis(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes("サーバー,seed,dice\nＵ,0,0.8\n".encode("shift-jis"))
    result = tell(tmp_path, "compare", path)
    assert "neither UTF-8 nor Windows-1252. Save it as UTF-8" in result.text


def test_arms_that_each_have_a_backbone_of_their_own(tmp_path: Path) -> None:
    rows = ["method,seed,backbone,dice"]
    for name, net, values in (("unet", "R34", UNET), ("ours", "R50", OURS)):
        rows += [f"{name},{seed},{net},{value}" for seed, value in enumerate(values)]
    result = tell(tmp_path, "compare", "\n".join(rows) + "\n")
    assert "doubt: each arm has a backbone of its own (R34, R50)" in result.text
    assert result.row["p_t"] == pytest.approx(P)
