"""Tables that the ninth round found wrong: mends that went too far, or not far enough."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, corrected_t, paired_t, per_case, per_seed_csv, tell

from llm4seg_probe.score_names import direction, parse_score

COMMANDS = pytest.mark.parametrize("command", ["compare", "audit"])
PLAIN = stats.ttest_rel(OURS, UNET).pvalue


def wide(**further: object) -> pd.DataFrame:
    """A column of each arm beside one of seeds."""
    return pd.DataFrame({"seed": range(5), "unet": UNET, "ours": OURS, **further})


@pytest.mark.parametrize(
    "name",
    ["FPs_per_slice", "FPs_per_image", "FPs_slice", "FPs_total", "lesion_fps", "num_fps",
     "FPS/image", "fps_per_volume", "number of fps"],
)  # fmt: skip
def test_false_positives_in_snake_case(name):
    assert direction(name).lower_is_better


@COMMANDS
@pytest.mark.parametrize(
    "names",
    [("Dice_Aorta", "Dice_GB"), ("DSC (GB)", "DSC (Liver)"), ("Dice RV", "Dice M", "Dice LV"),
     ("Dice_S", "Dice_MS", "Dice_CM"), ("IoU_MB", "IoU_PX")],
)  # fmt: skip
def test_regions_called_like_units_are_regions(tmp_path, command, names):
    table = pd.read_csv(StringIO(per_seed_csv()))
    for place, name in enumerate(names):
        table[name] = table["dice"] - 0.05 * place * (table["method"] == "ours")
    told = tell(tmp_path, command, table.drop(columns=["dice"]).to_csv(index=False),
                "--baseline", "unet")  # fmt: skip
    assert len(told.rows) == len(names)
    gaps = (told.rows["mean_a"] - told.rows["mean_b"]).sort_values(ascending=False)
    usual = np.mean(OURS) - np.mean(UNET)
    assert gaps.tolist() == pytest.approx([usual - 0.05 * place for place in range(len(names))])


def test_a_unit_is_left_out_where_it_can_be_one():
    assert parse_score("HD95 tumour (mm)").rest == "tumour"
    assert parse_score("mDice").rest == ""
    assert parse_score("Dice_M").rest == "m"


@COMMANDS
@pytest.mark.parametrize("name", ["All", "Total", "sum", "best"])
def test_columns_that_sum_the_arms_up_by_name(tmp_path, command, name):
    sums = wide(**{name: np.round(np.add(UNET, OURS) / 2 + 0.0003, 2)})
    told = tell(tmp_path, command, sums.to_csv(index=False), "--baseline", "unet")
    assert f"{name} sums the arms up, by its name, and is none: left out" in told.text
    assert told.row["p_t"] == pytest.approx(PLAIN, rel=1e-6)


@COMMANDS
@pytest.mark.parametrize(("factor", "decimals"), [(1, 2), (100, 1)])
def test_an_arm_in_the_middle_is_no_margin(tmp_path, command, factor, decimals):
    table = pd.DataFrame({"seed": range(4), "unet": [0.80, 0.82, 0.79, 0.81],
                          "unet+att": [0.81, 0.83, 0.81, 0.82],
                          "ours": [0.82, 0.84, 0.82, 0.84]})  # fmt: skip
    table.iloc[:, 1:] = (factor * table.iloc[:, 1:]).round(decimals)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
                "--higher-is-better")  # fmt: skip
    assert sorted(told.rows["a"]) == ["ours", "unet+att"]


@COMMANDS
def test_what_is_known_of_each_case_is_no_arm(tmp_path, command):
    table = per_case(seeds=4, cases=8).pivot(index=["seed", "case"], columns="method",
                                             values="dice").reset_index()  # fmt: skip
    number = table["case"].str[1:].astype(int)
    table = table.assign(gtv=(3.5 + 1.3 * number % 4).round(2), n_foci=number % 3)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet",
                "--higher-is-better")  # fmt: skip
    assert told.row["a"] == "ours"
    assert "gtv says the same of a case in all of its runs" in told.text


@COMMANDS
def test_an_arm_with_a_word_of_cases_in_it_is_a_doubt(tmp_path, command):
    table = wide(**{"two-stage": np.add(OURS, 0.002).round(4)})
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "doubt: not used: two-stage: if these are arms, write a row for each" in told.text


@COMMANDS
@pytest.mark.parametrize("unit", ["case", "image"])
def test_one_case_in_each_run_is_left_out_one_by_one(tmp_path, command, unit):
    draw = np.random.default_rng(4)
    level = draw.normal(0.8, 0.04, 10)
    gaps = draw.normal(0.0125, 0.006, 10).round(4)
    rows = [
        f"{arm},{run},P{run:02d},{level[run] + (gaps[run] if arm == 'ours' else 0):.6f}"
        for arm in ("unet", "ours")
        for run in range(10)
    ]
    text = "\n".join([f"method,seed,{unit},dice", *rows])
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert "these are folds and no seeds" in told.text
    if command == "audit":
        assert told.row["p_t"] == pytest.approx(corrected_t(gaps, 0.1), rel=1e-2)


@COMMANDS
@pytest.mark.parametrize("form", ["{data}_seed{seed}", "{data}-{arm}-{seed}.json"])
@pytest.mark.parametrize("column", ["dataset", "backbone"])
def test_names_of_runs_with_their_data_are_no_cases(tmp_path, command, form, column):
    table = pd.concat(
        [pd.read_csv(StringIO(per_seed_csv())).assign(**{column: name}) for name in ("A", "B")]
    )
    table["Name"] = [
        form.format(data=row[column], seed=row["seed"], arm=row["method"])
        for row in table.to_dict("records")
    ]
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.rows["p_t"].tolist() == pytest.approx([PLAIN, PLAIN], rel=1e-6)


@COMMANDS
def test_numbers_of_runs_in_another_order_in_each_arm_are_no_cases(tmp_path, command):
    table = pd.read_csv(StringIO(per_seed_csv()))
    table.insert(0, "ID", [1, 2, 3, 4, 5, 3, 1, 5, 2, 4])
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(PLAIN, rel=1e-6)


@COMMANDS
@pytest.mark.parametrize(
    "names",
    [("mean", "ci_low", "ci_high"), ("mean", "lower", "upper"), ("mean", "2.5%", "97.5%"),
     ("mu", "sigma"), ("mean (n=5)", "std (n=5)"), ("med", "iqr")],
)  # fmt: skip
@pytest.mark.parametrize("column", ["seed", "run", "fold"])
def test_means_with_their_bounds_are_no_runs(tmp_path, command, names, column):
    rows = [
        f"{arm},{name},{mean + 0.012 * (place - 1) * (place > 0):.4f}"
        for arm, mean in (("unet", 0.802), ("ours", 0.815))
        for place, name in enumerate(names)
    ]
    told = tell(tmp_path, command, "\n".join([f"method,{column},dice", *rows]))
    assert told.rows.empty
    assert "and nothing else: these are means and spreads" in told.text


@COMMANDS
@pytest.mark.parametrize("column", ["name", "task", "item"])
def test_scores_in_rows_under_a_score_that_is_named(tmp_path, command, column):
    rows = [
        f"{arm},{seed},{7 - value if name == 'hd95' else value},{name}"
        for arm, values in (("unet", UNET), ("ours", OURS))
        for seed, value in enumerate(values)
        for name in ("dice", "hd95")
    ]
    told = tell(tmp_path, command, "\n".join([f"method,seed,y,{column}", *rows]),
                "--score", "y", "--higher-is-better")  # fmt: skip
    assert told.rows.empty
    assert f"column {column} names several scores (dice, hd95)" in told.text


@COMMANDS
def test_classes_called_like_scores_can_be_named_as_data(tmp_path, command):
    table = pd.concat(
        [
            pd.read_csv(StringIO(per_seed_csv(header="method,seed,value"))).assign(label=name)
            for name in ("ACC", "PCC", "INS")
        ]
    )
    asked = ("--baseline", "unet", "--higher-is-better")
    told = tell(tmp_path, command, table.to_csv(index=False), *asked)
    assert "if they are data, --dataset label" in told.text
    right = tell(tmp_path, command, table.to_csv(index=False), *asked, "--dataset", "label")
    assert len(right.rows) == 3


@COMMANDS
def test_a_leukaemia_is_no_sum(tmp_path, command):
    table = pd.concat(
        [pd.read_csv(StringIO(per_seed_csv())).assign(**{"class": name})
         for name in ("AML", "CLL", "ALL")]
    )  # fmt: skip
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "sum others up" not in told.text
    assert "averaged over class: AML, CLL, ALL" in told.text


SEEDS = [0.796, 0.803, 0.8, 0.806, 0.801], [0.813, 0.815, 0.813, 0.804, 0.812]
SEEDS_42 = [0.797, 0.799, 0.801, 0.803, 0.801], [0.810, 0.809, 0.809, 0.806, 0.810]


@COMMANDS
@pytest.mark.parametrize(
    ("values", "names"),
    [(SEEDS, "seed_0 seed_1 seed_2 seed_3 seed_4"), (SEEDS_42, "0 1 2 3 42")],
)
def test_a_seed_near_the_mean_of_the_others_is_one(tmp_path, command, values, names):
    rows = [
        f"{arm},{name},{value}"
        for arm, own in zip(("unet", "ours"), values, strict=True)
        for name, value in zip(names.split(), own, strict=True)
    ]
    told = tell(tmp_path, command, "\n".join(["method,seed,dice", *rows]), "--baseline", "unet")
    assert told.row["n_seeds"] == 5
    assert told.row["p_t"] == pytest.approx(stats.ttest_rel(*values).pvalue, rel=1e-6)


@COMMANDS
def test_few_random_tables_have_a_result_left_out(tmp_path, command):
    draw = np.random.default_rng(11)
    for number in range(12):
        values = draw.normal([0.80] * 5 + [0.81] * 5, 0.003).round(3)
        rows = [
            f"{arm},seed_{seed},{values[5 * place + seed]}"
            for place, arm in enumerate(("unet", "ours"))
            for seed in range(5)
        ]
        folder = tmp_path / str(number)
        folder.mkdir()
        told = tell(folder, command, "\n".join(["method,seed,dice", *rows]), "--baseline", "unet")
        assert told.row["n_seeds"] == 5


@COMMANDS
def test_a_mean_of_many_decimals_is_left_out_whatever_it_is_called(tmp_path, command):
    table = per_case(seeds=3, cases=9)
    means = table.groupby(["method", "seed"], as_index=False)["dice"].mean()
    both = pd.concat([table, means.assign(case="keskim")])
    told = tell(tmp_path, command, both.to_csv(index=False), "--baseline", "unet")
    assert "rows sum others up, by what they hold (case keskim: their mean)" in told.text
    assert told.row["p_t"] == pytest.approx(paired_t(table)[1], rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("name", ["Best", "total", "n", "stage 1"])
def test_the_baseline_that_is_named_is_an_arm(tmp_path, command, name):
    table = wide().rename(columns={"unet": name}).assign(third=np.add(OURS, 0.01).round(4))
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", name,
                "--higher-is-better")  # fmt: skip
    assert sorted(told.rows["a"]) == ["ours", "third"]


@COMMANDS
def test_an_arm_of_one_run_beside_seeds_can_be_the_baseline(tmp_path, command):
    table = per_case(seeds=3, cases=6)
    first = table["method"].eq("unet") & table["seed"].eq(0)
    fixed = table[first].set_index("case")["dice"]
    table.loc[table["method"] == "unet", "dice"] = table["case"].map(fixed)
    flat = table.pivot(index=["case", "seed"], columns="method", values="dice").reset_index()
    flat["unetr"] = (flat["ours"] - 0.01 + 0.001 * flat["seed"]).round(4)
    asked = ("--higher-is-better", "--baseline")
    told = tell(tmp_path, command, flat.to_csv(index=False), *asked, "unet")
    assert sorted(told.rows["a"]) == ["ours", "unetr"]
    other = tell(tmp_path, command, flat.to_csv(index=False), *asked, "unetr")
    assert "unet says the same of a case in all of its runs" in other.text
    assert "if it is one: --baseline, or a row for each result" in other.text


@COMMANDS
@pytest.mark.parametrize("levels", [(0.05, 0.1, 0.2), (0.1, 0.5, 1.0), (0.001, 0.01, 0.1, 1.0)])
def test_a_setting_of_few_numbers_is_named(tmp_path, command, levels):
    rows = [
        f"{arm},{seed},{level},{0.7 + place / 20 + seed / 100 + (arm == 'ours') / 50}"
        for arm in ("unet", "ours")
        for seed in range(2)
        for place, level in enumerate(levels)
    ]
    text = "\n".join(["method,seed,label_ratio,dice", *rows])
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert f"they differ in label_ratio ({', '.join(map(str, levels))})" in told.text


@COMMANDS
@pytest.mark.parametrize("name", ["torch_seed", "global_seed", "train_seed"])
def test_more_names_of_seeds(tmp_path, command, name):
    told = tell(tmp_path, command, per_seed_csv(header=f"method,{name},dice"), "--baseline", "unet")
    assert told.row["p_t"] == pytest.approx(PLAIN, rel=1e-6)


@COMMANDS
@pytest.mark.parametrize("name", ["mIoU", "mDice", "m_dsc"])
def test_the_mean_of_classes_is_none_of_them(tmp_path, command, name):
    table = pd.read_csv(StringIO(per_seed_csv()))
    parts = [table.assign(dice=table["dice"] + step, **{"class": own})
             for own, step in (("polyp", 0.05), ("bg", -0.05), (name, 0.0))]  # fmt: skip
    told = tell(tmp_path, command, pd.concat(parts).to_csv(index=False), "--baseline", "unet")
    assert "rows sum others up (class" in told.text
    assert "averaged over class: polyp, bg," in told.text


@pytest.mark.parametrize("name", ["FPS slice/s", "FPS_total", "fps at image size 512"])
def test_throughput_stays_throughput(name):
    assert not direction(name).lower_is_better
