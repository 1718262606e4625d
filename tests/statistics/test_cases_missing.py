"""Absent classes, empty scores and infinite distances: three things, none left out in silence."""

import numpy as np
import pandas as pd
import pytest
from strangers import corrected_t, paired_t, per_case, summary, tell

from llm4seg_probe.statistics.compare import compare


@pytest.fixture(scope="module")
def absent():
    """Two classes; every second case has no class 2, in every run; the classes disagree."""
    draw = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"method": arm, "seed": s, "case": f"p{c:02d}", "class": k,
             "dice": np.nan if k == 2 and c % 2 == 0 else
             round(0.8 + (0.01 if k == 1 else -0.01) * (arm == "ours") + draw.normal(0, 0.002), 5)}
            for s in range(5) for c in range(20) for k in (1, 2) for arm in ("unet", "ours")
        ]
    )  # fmt: skip


def by_hand(table, way):
    """Per-seed values of each arm under each way to average, with pandas alone."""
    keys = ["method", "seed"]
    if way == "case":
        whole = table.groupby([*keys, "case"])["dice"].agg(lambda v: v.mean(skipna=False))
        return whole.groupby(keys).mean()
    if way == "per-case":
        return table.groupby([*keys, "case"])["dice"].mean().groupby(keys).mean()
    return table.groupby([*keys, "class"])["dice"].mean().groupby(keys).mean()


@pytest.mark.parametrize("way", ["case", "per-case", "per-class"])
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_each_way_to_count_absent_classes(tmp_path, absent, way, command):
    options = ["--average-over", "class"] if command == "compare" else []
    told = tell(
        tmp_path,
        command,
        absent.to_csv(index=False),
        "--baseline",
        "unet",
        "--absent",
        way,
        *options,
    )
    means = by_hand(absent, way)
    expected = (means["ours"] - means["unet"]).mean()
    assert told.row["difference"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_without_a_choice_all_answers_are_told(tmp_path, absent, command):
    options = ["--average-over", "class"] if command == "compare" else []
    told = tell(tmp_path, command, absent.to_csv(index=False), "--baseline", "unet", *options)
    assert "doubt: some cases lack a value of class" in told.text
    for way in ("case", "per-case", "per-class"):
        means = by_hand(absent, way)
        number = (means["ours"] - means["unet"]).mean()
        assert f"{number:+.3g} with --absent {way}" in told.text
    assert (
        "10 cases that lack a class in every run are left out with their other classes" in told.text
    )
    assert "10 cases without a score in any run" not in told.text
    assert told.row["sentence"].endswith("(p00, p02, p04, p06, …).")


def nnunet(folder, absent=(), lacking=(), version=2):
    """Two configurations, five folds of four cases and two labels; some labels absent."""
    draw = np.random.default_rng(4)
    files, values = [], {}
    for arm, gain in (("2d", 0.0), ("3d_fullres", 0.03)):
        for fold in range(5):
            cases = {}
            for k in range(4):
                case = f"case_{4 * fold + k:03d}"
                scores = {label: 0.8 + gain + draw.normal(0, 0.01) for label in ("1", "2")}
                if case in absent or (case in lacking and arm == "2d"):
                    scores["2"] = float("nan")
                cases[case] = scores
            place = folder / "Dataset004_X" / f"nnUNetTrainer__nnUNetPlans__{arm}" / f"fold_{fold}"
            files.append(summary(place / "validation", cases, version))
            values[arm, fold] = np.mean(
                [np.nanmean([c[k] for c in cases.values()]) for k in ("1", "2")]
            )
    d = [values["3d_fullres", fold] - values["2d", fold] for fold in range(5)]
    return files, np.array(d)


@pytest.mark.parametrize(
    ("absent", "lacking"),
    [
        ((), ()),
        (("case_003",), ()),
        (("case_003", "case_010", "case_019"), ()),
        ((), ("case_006",)),
    ],
)
@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_s_own_means_are_compared(tmp_path, absent, lacking, version):
    files, d = nnunet(tmp_path / "r", absent, lacking, version)
    told = tell(tmp_path, "audit", files)
    assert told.row["difference"] == pytest.approx(d.mean(), rel=1e-9)
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert told.row["n_seeds"] == 5
    if lacking:
        assert "have a score in some runs only" in told.text
        assert "case_006 2" in told.text


def test_compare_reads_the_same_folders(tmp_path):
    files, d = nnunet(tmp_path / "r", ("case_003",))
    told = tell(
        tmp_path, "compare", files, "--baseline", "nnUNetTrainer__nnUNetPlans__2d",
        "--fold", "fold", "--average-over", "class",
    )  # fmt: skip
    assert told.row["difference"] == pytest.approx(d.mean(), rel=1e-9)


@pytest.mark.parametrize("how", ["row", "empty"])
def test_a_case_of_a_fold_that_one_arm_lacks_is_left_out_of_both_and_named(tmp_path, how):
    table = per_case(seeds=1, cases=20).drop(columns="seed")
    table["fold"] = table["case"].str[1:].astype(int) % 5
    lone = (table["case"] == "p13") & (table["method"] == "ours")
    text = (table[~lone] if how == "row" else table.assign(dice=table["dice"].mask(lone))).to_csv(
        index=False
    )
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    means = table[table["case"] != "p13"].groupby(["method", "fold"])["dice"].mean()
    d = means["ours"] - means["unet"]
    assert told.row["difference"] == pytest.approx(d.mean(), rel=1e-9)
    assert told.row["p_t"] == pytest.approx(corrected_t(d), rel=1e-6)
    assert "1 cases without a score in some arm are left out of all (p13)" in told.text
    refused = tell(tmp_path, "compare", text, "--baseline", "unet", "--fold", "fold")
    assert refused.code == 2
    assert (
        "fold 3: its 1 cases were not scored in every arm (p13): score them, or leave them out"
        in refused.text
    )
    left = tell(
        tmp_path, "compare", text, "--baseline", "unet", "--fold", "fold", "--drop-unpaired"
    )
    assert left.row["difference"] == pytest.approx(d.mean(), rel=1e-9)


@pytest.mark.parametrize("name", ["hd95", "HD95 (mm)", "Hausdorff", "assd"])
@pytest.mark.parametrize("value", ["inf", "Infinity", "∞", "-inf"])
def test_infinite_distances_of_one_arm_are_a_fault_and_no_verdict(tmp_path, name, value):
    table = per_case(cases=20).rename(columns={"dice": name})
    table[name] = 10 * table[name]
    hit = (
        (table["method"] == "ours")
        & table["case"].isin(["p00", "p01", "p02", "p03"])
        & (table["seed"] < 3)
    )
    text = (
        table.astype({name: str})
        .assign(**{name: lambda t: t[name].mask(hit, value)})
        .to_csv(index=False)
    )
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    assert told.rows.empty
    assert "fault: 12 of 200 scores are infinite, all of ours" in told.text
    assert "12 of 200 scores are infinite, all of ours" in told.page
    for options in ([], ["--drop-unpaired"]):
        refused = tell(tmp_path, "compare", text, "--baseline", "unet", *options)
        assert refused.code == 2
        assert f"12 of 200 values of {name} are infinite, all of ours" in refused.text
        assert "--infinite-as VALUE" in refused.text
    for command in ("compare", "audit"):
        named = tell(tmp_path, command, text, "--baseline", "unet", "--infinite-as", "50")
        expected, _ = paired_t(table.assign(**{name: table[name].mask(hit, 50.0)}), name)
        assert named.row["difference"] == pytest.approx(expected, rel=1e-9)


def test_a_case_that_is_infinite_in_every_run_tells_no_arm_from_another():
    table = per_case().rename(columns={"method": "arm", "case": "image", "dice": "hd95"})
    table.loc[table["image"] == "p03", "hd95"] = np.inf
    row = compare(table, score="hd95", baseline="unet").iloc[0]
    assert row["n_cases"] == 11
    assert "1 cases without a score in any run are left out" in row["note"]


def test_scores_that_are_empty_in_one_arm_only_are_doubted(tmp_path):
    table = per_case()
    hit = (table["method"] == "ours") & (table["case"] == "p03") & (table["seed"] < 3)
    told = tell(tmp_path, "audit", table.assign(dice=table["dice"].mask(hit)).to_csv(index=False))
    assert (
        "doubt: 3 of 120 scores are empty, all of ours: a case that one arm cannot score"
        in told.text
    )


def test_a_run_without_any_score_does_not_take_all_cases_with_it(tmp_path):
    table = per_case()
    hit = (table["method"] == "ours") & (table["seed"] == 2)
    told = tell(
        tmp_path,
        "audit",
        table.assign(dice=table["dice"].mask(hit)).to_csv(index=False),
        "--baseline",
        "unet",
    )
    difference, p = paired_t(table[table["seed"] != 2])
    assert told.row["difference"] == pytest.approx(difference, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-9)
    assert "left out: seeds 2 of ours have no score" in told.text


@pytest.mark.parametrize("role", ["seed", "case", "fold"])
@pytest.mark.parametrize("word", ["mean", "Average", "std"])
def test_rows_that_sum_others_up_are_no_run_and_no_case(tmp_path, role, word):
    table = per_case()
    if role == "fold":
        table = table[table["seed"] == 0].drop(columns="seed")
        table["fold"] = table["case"].str[1:].astype(int) % 4
    extra = table.iloc[[0, 12]].copy()
    extra["method"] = ["unet", "ours"]
    extra["dice"] = [0.1, 0.9]
    extra = extra.astype({role: object})
    extra[role] = word
    told = tell(
        tmp_path, "audit", pd.concat([table, extra]).to_csv(index=False), "--baseline", "unet"
    )
    plain = tell(tmp_path, "audit", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(plain.row["difference"], rel=1e-12)
    assert f"2 rows sum others up ({role} {word.lower()}): left out" in told.text
