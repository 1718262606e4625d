"""Tables of the kinds that the eighth round of fresh files found wrong, with siblings of each."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, paired_t, per_case, per_seed_csv, tell

from llm4seg_probe.column_words import words
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.score_names import direction, parse_score
from llm4seg_probe.statistics.cells import read_numbers, undressed

COMMANDS = pytest.mark.parametrize("command", ["compare", "audit"])


def in_rows(column: str, names=("dice", "hd95"), score="value") -> pd.DataFrame:
    """A row for each arm, seed and score; the scores' names stand in ``column``."""
    return pd.DataFrame(
        {"method": arm, "seed": seed, column: name, score: value if name == names[0] else 7 - value}
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(values)
        for name in names
    )


@COMMANDS
@pytest.mark.parametrize(
    "column",
    ["metric_name", "metric.name", "metrics_id", "name", "item", "label", "class", "task", "data",
     "backbone", "tag", "key", "Kennzahl", "score_type"],
)  # fmt: skip
def test_scores_in_rows_are_no_cases_classes_or_data(tmp_path, command, column):
    table = in_rows(column)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.rows.empty
    assert f"column {column} names several scores (dice, hd95)" in told.text
    asked = ("--baseline", "unet", "--where", f"{column}=dice")
    right = tell(tmp_path, command, table.to_csv(index=False), *asked)
    assert right.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-6)


@COMMANDS
def test_losses_may_be_the_arms(tmp_path, command):
    rows = per_seed_csv(header="method,seed,score", names=("focal loss", "dice loss"))
    told = tell(tmp_path, command, rows, "--baseline", "dice loss", "--higher-is-better")
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("column", ["config_name", "config_file", "params_id", "config.name"])
def test_a_setting_is_no_case(tmp_path, command, column):
    table = pd.concat(
        [
            pd.read_csv(StringIO(per_seed_csv())).assign(**{column: name})
            for name in ("2d", "3d_fullres")
        ]
    )
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert f"they differ in {column} (2d, 3d_fullres)" in told.text


@COMMANDS
def test_a_configuration_may_be_the_arm(tmp_path, command):
    told = tell(tmp_path, command, per_seed_csv(header="config_name,seed,dice"))
    assert "config_name = arm" in told.text


def test_what_an_export_writes_before_a_name_is_left_out_and_no_more():
    assert [words(name) for name in ("params_seed", "metrics.dice", "config/lr")] == [
        "seed", "dice", "lr",
    ]  # fmt: skip
    assert [words(name) for name in ("metric_name", "params_id", "config_file")] == [
        "metric_name", "params_id", "config_file",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["FPs per image", "FPs/scan", "FPs/case", "avg FPs", "# FPs", "fps_per_image", "fps per scan"],
)
def test_false_positives_are_no_frames_per_second(name):
    assert direction(name).lower_is_better


@pytest.mark.parametrize("name", ["FPS", "fps", "images per second", "FPS (inference)"])
def test_frames_per_second_are_no_false_positives(name):
    assert parse_score(name).score.name == "throughput"
    assert not direction(name).lower_is_better


@COMMANDS
@pytest.mark.parametrize("column", ["seed", "fold", "name", "class"])
def test_means_and_spreads_are_no_results(tmp_path, command, column):
    seeds = [0] if column in ("seed", "fold") else range(5)
    rows = [
        {"method": arm, **({} if column == "seed" else {"seed": seed}), column: kind, "dice": value}
        for arm, mean in (("unet", 0.80), ("ours", 0.82))
        for seed in seeds
        for kind, value in (("mean", mean + 0.001 * seed), ("std", 0.006))
    ]
    told = tell(tmp_path, command, pd.DataFrame(rows).to_csv(index=False))
    assert told.rows.empty
    assert f"{column} holds mean, std and nothing else: these are means and spreads" in told.text


@COMMANDS
@pytest.mark.parametrize("name", ["All", "Total", "both"])
def test_the_margin_of_a_pivot_table_is_no_arm(tmp_path, command, name):
    wide = pd.DataFrame({"seed": range(5), "unet": UNET, "ours": OURS})
    wide[name] = wide[["unet", "ours"]].mean(axis=1)
    told = tell(tmp_path, command, wide.to_csv(index=False), "--baseline", "unet")
    says = "is the mean of the other columns in every row, and no arm"
    assert f"{name} {'sums the arms up, by its name' if name != 'both' else says}" in told.text
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("names", ["seed{}", "results_seed{}.json", "{}"])
@pytest.mark.parametrize("column", ["Name", "ID", "file"])
def test_names_of_runs_make_no_folds_of_seeds(tmp_path, command, column, names):
    table = pd.read_csv(StringIO(per_seed_csv()))
    table.insert(0, column, [names.format(seed + 1) for seed in table["seed"]])
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-6)
    assert "pooled over" not in told.text
    assert "--fold" not in told.text


@COMMANDS
def test_sums_are_left_out_of_what_is_averaged_over(tmp_path, command):
    rows = [
        {"method": arm, "seed": seed, "Labels": part, "dice": value}
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, mean in enumerate(values)
        for part, value in (("ET", mean - 0.1), ("WT", mean + 0.1), ("Mean", mean), ("Std", 0.1))
    ]
    text = pd.DataFrame(rows).to_csv(index=False)
    told = tell(tmp_path, command, text, "--baseline", "unet", "--average-over", "Labels")
    assert "rows sum others up (Labels mean, std): left out" in told.text
    assert told.row["mean_a"] - told.row["mean_b"] == pytest.approx(
        np.mean(OURS) - np.mean(UNET), abs=1e-9
    )


@COMMANDS
def test_folds_of_unequal_size_lack_no_class(tmp_path, command):
    table = per_case(cases=11)
    table["fold"] = table["case"].str[1:].astype(int) % 3
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "lack a value" not in told.text
    assert told.row["p_t"] == pytest.approx(paired_t(table)[1], rel=1e-6)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [((",801", ",7821", ",806"), (0.801, 0.7821, 0.806)), (("-,5", "1,25"), (-0.5, 1.25))],
)
def test_a_comma_without_digits_before_it_is_decimal(cells, numbers):
    read = read_numbers(pd.Series(cells, name="DSC"), comma=True)
    assert tuple(read.values) == pytest.approx(numbers)


def test_very_many_runs_behind_a_mean_are_doubted(tmp_path):
    rows = "method,Dice,N\nunet,0.80 ± 0.10,{0}\nours,0.83 ± 0.10,{0}\n"
    assert "if these are patients or images" in tell(tmp_path, "audit", rows.format(120)).text
    assert "if these are patients" not in tell(tmp_path, "audit", rows.format(5)).text


@COMMANDS
def test_a_case_lies_in_the_fold_that_it_was_scored_in(tmp_path, command):
    table = per_case(seeds=1, cases=12)
    table["fold"] = table["case"].str[1:].astype(int) % 3
    table["column"] = table["method"] + "_fold" + table["fold"].astype(str)
    wide = table.pivot(index="case", columns="column", values="dice").reset_index()
    told = tell(tmp_path, command, wide.to_csv(index=False), "--baseline", "unet",
                "--higher-is-better")  # fmt: skip
    long = tell(tmp_path, command, table.drop(columns=["column", "seed"]).to_csv(index=False),
                "--baseline", "unet")  # fmt: skip
    assert told.row["p_t"] == pytest.approx(long.row["p_t"], rel=1e-9)
    assert told.row["n_seeds"] == 3


@COMMANDS
@pytest.mark.parametrize("form", ["Lauf {}", "Durchlauf_{}", "graine {}", "semilla{}"])
def test_columns_of_seeds_in_other_languages(tmp_path, command, form):
    wide = pd.DataFrame([["unet", *UNET], ["ours", *OURS]],
                        columns=["Methode", *(form.format(n) for n in range(5))])  # fmt: skip
    told = tell(tmp_path, command, wide.to_csv(index=False), "--baseline", "unet",
                "--higher-is-better")  # fmt: skip
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(OURS, UNET).pvalue, rel=1e-6)


def test_the_step_that_is_advised_has_a_score(tmp_path):
    rows = [
        f"{arm},{seed},{step},{value if step == 299 else ''}"
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(values)
        for step in (299, 249)
    ]
    told = tell(tmp_path, "compare", "\n".join(["method,seed,step,val_dice", *rows]))
    assert "--where step=299" in told.text


def test_long_names_and_cells_take_no_time_and_are_no_numbers(tmp_path):
    rows = per_seed_csv(names=("a_" * 20_000, "unet"))
    assert tell(tmp_path, "compare", rows, "--baseline", "unet").row["n_seeds"] == 5
    cell = "<sup>" * 8_000
    assert undressed(cell) == cell
    told = tell(tmp_path, "compare", per_seed_csv().replace("0.741", cell))
    assert "is not a number: correct it" in told.text
    assert len(told.text) < 400
    told = tell(tmp_path, "compare", per_seed_csv(header=f"method,seed,dice {'(' * 5_000}"))
    assert "a column's name of 5005 letters" in told.text


def test_a_name_that_tells_nothing_is_asked_for():
    with pytest.raises(ConfigError, match="is a higher or a lower"):
        direction("x_" * 5_000)
