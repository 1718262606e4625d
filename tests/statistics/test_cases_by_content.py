"""Rows, columns and values that no word gives away, told by what they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from strangers import OURS, UNET, per_seed_csv, summary, tell

P = float(stats.ttest_rel(OURS, UNET).pvalue)
"""Of the paired t-test over the five seeds alone."""


def with_sums(*sums: tuple[str, str], decimals: int = 4) -> str:
    """The five seeds of two arms, with rows of other names that hold what numpy makes of them."""
    rows = per_seed_csv().splitlines()
    for name, values in (("unet", UNET), ("ours", OURS)):
        for word, kind in sums:
            total = np.std(values, ddof=1) if kind == "sd" else getattr(np, kind)(values)
            rows.append(f"{name},{word},{total:.{decimals}f}")
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    ("sums", "told"),
    [
        ((("Gjennomsnitt", "mean"),), "seed Gjennomsnitt: their mean"),
        ((("Keskiarvo", "mean"), ("Keskihajonta", "sd")), "Keskihajonta: their SD"),
        ((("ortanca", "median"),), "seed ortanca: their median"),
        ((("en iyi", "max"), ("en kötü", "min")), "en iyi: their largest, en kötü: their smallest"),
        ((("合計値", "sum"),), "合計値: their sum"),
    ],
)
def test_rows_that_sum_seeds_up_in_words_of_no_list(tmp_path: Path, sums, told) -> None:
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, with_sums(*sums))
        assert result.code == 0, result.text
        assert told in result.text
        assert "by what they hold" in result.text
        assert result.row["n_seeds"] == 5
        assert result.row["p_t"] == pytest.approx(P)


def test_a_seed_of_a_name_that_sums_nothing_up_stays_and_is_doubted(tmp_path: Path) -> None:
    rows = per_seed_csv().replace("unet,4,", "unet,final,").replace("ours,4,", "ours,final,")
    result = tell(tmp_path, "compare", rows)
    assert result.row["n_seeds"] == 5
    assert "seed final is no number, as the others are: does it sum them up?" in result.text


def test_a_case_that_is_the_mean_of_the_others_in_every_run(tmp_path: Path) -> None:
    names = ("anna", "berta", "carla", "dora", "emma", "frida")
    draw = np.random.default_rng(3)
    lines = ["method,seed,case,dice"]
    means: dict[str, list[float]] = {"unet": [], "ours": []}
    for arm in means:
        for seed in range(3):
            values = np.round(draw.normal(0.8, 0.05, len(names)), 4)
            means[arm].append(float(values.mean()))
            lines += [f"{arm},{seed},{n},{v}" for n, v in zip(names, values, strict=True)]
            lines.append(f"{arm},{seed},schnitt,{values.mean():.4f}")
    result = tell(tmp_path, "compare", "\n".join(lines) + "\n")
    assert "6 rows sum others up, by what they hold (case schnitt: their mean)" in result.text
    assert result.row["p_t"] == pytest.approx(
        float(stats.ttest_rel(means["ours"], means["unet"]).pvalue)
    )


def test_a_case_near_the_mean_in_one_run_stays(tmp_path: Path) -> None:
    lines = ["method,seed,case,dice"]
    draw = np.random.default_rng(4)
    for arm in ("unet", "ours"):
        for seed in range(3):
            values = np.round(draw.normal(0.8, 0.05, 6), 4)
            if arm == "unet" and seed == 0:
                values[2] = np.round(np.delete(values, 2).mean(), 4)
            lines += [f"{arm},{seed},{n},{v}" for n, v in zip("abcdef", values, strict=True)]
    result = tell(tmp_path, "compare", "\n".join(lines) + "\n")
    assert "sum others up" not in result.text
    assert result.row["n_cases"] == 6


@pytest.mark.parametrize(("mark", "told"), [("999", "999"), ("9999.0", "9999")])
def test_numbers_that_mark_missing_values(tmp_path: Path, mark: str, told: str) -> None:
    lines = ["method,seed,case,hd95"]
    draw = np.random.default_rng(5)
    for arm in ("unet", "ours"):
        for seed in range(3):
            lines += [f"{arm},{seed},c{c},{value:.2f}" for c, value in
                      enumerate(draw.uniform(2, 20, 8))]  # fmt: skip
    lines[4] = f"{lines[4].rpartition(',')[0]},{mark}"
    for command in ("compare", "audit"):
        result = tell(tmp_path, command, "\n".join(lines) + "\n")
        assert f"hd95 is {told} in 1 of 48 rows, and never beyond" in result.text
        assert "leave those cells empty" in result.text


def test_a_distance_of_99_is_one(tmp_path: Path) -> None:
    rows = per_seed_csv((99.0, 8, 7, 9, 8), (9, 8, 8, 9, 7), header="method,seed,hd95")
    assert "marks missing" not in tell(tmp_path, "compare", rows).text


@pytest.mark.parametrize(
    "table",
    [
        "metric,unet_s0,unet_s1,ours_s0,ours_s1\ndice,.8,.81,.82,.83\nhd95,8.1,8,7.9,7.7\n",
        "model,u1,u2,o1,o2\nseed,0,1,0,1\ndice,.8,.81,.82,.83\n",
    ],
)
def test_a_transposed_table(tmp_path: Path, table: str) -> None:
    for command in ("compare", "audit", "plan"):
        result = tell(tmp_path, command, table)
        assert result.code == 2
        assert "turn it (rows become columns)" in result.text


def test_a_transposed_table_with_a_column_for_each_run_of_an_arm(tmp_path: Path) -> None:
    table = "model,unet,unet,ours,ours\nseed,0,1,0,1\ndice,.8,.81,.82,.83\n"
    result = tell(tmp_path, "compare", table)
    assert result.code == 2
    assert "if each column is a run, turn the table (rows become columns)" in result.text


def test_seeds_in_a_first_column_without_a_header(tmp_path: Path) -> None:
    rows = [f"seed {seed},{u},{o}" for seed, (u, o) in enumerate(zip(UNET, OURS, strict=True))]
    result = tell(tmp_path, "compare", "\n".join([",unet,ours", *rows]) + "\n", "--score", "dice")
    assert result.row["p_t"] == pytest.approx(P)
    assert "seed = seed" in result.text


def test_runs_told_apart_by_a_date_alone(tmp_path: Path) -> None:
    lines = ["model,date,dice"]
    for name, values in (("unet", UNET), ("ours", OURS)):
        lines += [f"{name},2024-03-0{day + 1},{value}" for day, value in enumerate(values)]
    table = "\n".join(lines) + "\n"
    assert "--seed COLUMN or --fold COLUMN of date" in tell(tmp_path, "compare", table).text
    assert "if each is another run, --seed date" in tell(tmp_path, "audit", table).text
    by_date = tell(tmp_path, "compare", table, "--seed", "date")
    assert by_date.row["p_t"] == pytest.approx(P)


def test_the_day_on_which_a_run_was_made_pools_nothing(tmp_path: Path) -> None:
    lines = ["model,seed,Created,dice"]
    for name, values in (("unet", UNET), ("ours", OURS)):
        lines += [f"{name},{s},2024-03-0{s % 2 + 1},{value}" for s, value in enumerate(values)]
    result = tell(tmp_path, "compare", "\n".join(lines) + "\n")
    assert "pooled" not in result.text
    assert "not used: Created" in result.text


def test_names_of_runs_are_no_cases_where_the_arm_is_found_by_what_it_holds(tmp_path: Path) -> None:
    lines = ["Name,flavour,seed,dice"]
    for name, values in (("unet", UNET), ("ours", OURS)):
        lines += [f"{name}-run-{s}x,{name},{s},{value}" for s, value in enumerate(values)]
    result = tell(tmp_path, "compare", "\n".join(lines) + "\n")
    assert "Name is another in each row: it names rows or runs, and no case" in result.text
    assert result.row["p_t"] == pytest.approx(P)


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("method,dice,MAD,n", "only a median absolute deviation (MAD)"),
        ("method,dice,min,max,n", "only smallest or largest values (min, max)"),
        ("method,dice,Q1,Q3,n", "only quantiles (Q1, Q3)"),
    ],
)
def test_spreads_of_which_no_sd_can_be_made(tmp_path: Path, header: str, told: str) -> None:
    cells = ("0.80,0.01,0.02,5", "0.83,0.01,0.02,5") if header.count(",") == 4 else (
        "0.80,0.01,5", "0.83,0.01,5")  # fmt: skip
    result = tell(tmp_path, "audit", f"{header}\nunet,{cells[0]}\nours,{cells[1]}\n")
    assert result.code == 2
    assert told in result.text


def test_sigma_is_an_sd(tmp_path: Path) -> None:
    greek = tell(tmp_path, "audit", "method,dice,σ,n\nunet,0.80,0.01,5\nours,0.83,0.01,5\n")
    latin = tell(tmp_path, "audit", "method,dice,sd,n\nunet,0.80,0.01,5\nours,0.83,0.01,5\n")
    assert greek.row["p_uncorrelated"] == latin.row["p_uncorrelated"]


def test_spreads_that_are_all_zero(tmp_path: Path) -> None:
    result = tell(tmp_path, "audit", "method,dice,sd,n\nunet,0.80,0.00,5\nours,0.83,0.00,5\n")
    assert "every spread of dice is 0" in result.text


def test_summaries_that_gather_the_folds_beside_them(tmp_path: Path) -> None:
    files = []
    for arm, gain in (("unet", 0.0), ("ours", 0.02)):
        every = {}
        for fold in range(5):
            cases = {
                f"c{fold}{k}": {"1": 0.7 + 0.01 * k + gain * (1 + fold) + 0.002 * fold}
                for k in range(4)
            }
            every |= cases
            files.append(summary(tmp_path / arm / f"fold_{fold}" / "validation", cases))
        files.append(summary(tmp_path / arm / "crossval_results_folds_0_1_2_3_4", every))
    both = tell(tmp_path, "compare", files)
    folds = tell(tmp_path, "compare", [file for file in files if "crossval" not in str(file)])
    assert "2 summaries are of folds that are given too, gathered" in both.text
    assert both.row["p_t"] == folds.row["p_t"]
    assert both.row["n_seeds"] == 5
