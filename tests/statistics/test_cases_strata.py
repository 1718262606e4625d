"""Regions, backbones and data sets are compared each by itself, and never with one another."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import paired_t, tell


def uncorrelated(difference, sds, n):
    spread = np.hypot(*sds) / np.sqrt(n)
    return 2 * stats.t.sf(abs(difference) / spread, n - 1)


BRATS = """Method,{0},{1},{2},n
unet,90.1 ± 0.4,84.9 ± 0.5,78.0 ± 0.6,5
ours,90.2 ± 0.4,85.1 ± 0.5,78.3 ± 0.6,5
"""


@pytest.mark.parametrize(
    "names",
    [
        ("Dice (WT)", "Dice (TC)", "Dice (ET)"), ("Dice_wt", "Dice_tc", "Dice_et"),
        ("WT Dice", "TC Dice", "ET Dice"), ("mIoU [WT]", "mIoU [TC]", "mIoU [ET]"),
        ("Dice whole tumour", "Dice tumour core", "Dice enhancing tumour"),
        ("BUSI", "ISIC", "Kvasir"), ("BUSI IoU", "ISIC IoU", "Kvasir IoU"),
    ],
)  # fmt: skip
def test_printed_columns_are_not_compared_with_each_other(tmp_path, names):
    told = tell(tmp_path, "audit", BRATS.format(*names))
    assert told.code == 0, told.text
    assert list(told.rows["difference"]) == pytest.approx([0.1, 0.2, 0.3])
    assert told.rows["dataset"].nunique() == 3
    for row, sd in zip(told.rows.itertuples(), (0.4, 0.5, 0.6), strict=True):
        assert row.p_uncorrelated == pytest.approx(uncorrelated(row.difference, (sd, sd), 5))
        assert row.verdict == "inconclusive"
        assert f"On {row.dataset}: ours against unet" in told.text


@pytest.mark.parametrize(
    "name", ["Backbone", "Encoder", "Dataset", "Region", "Organ", "base model"]
)
def test_printed_rows_of_several_backbones_or_regions(tmp_path, name):
    text = (
        f"{name},Method,Dice,n\nR50,unet,85.3 ± 0.4,5\nR50,ours,85.4 ± 0.4,5\n"
        "Swin,unet,90.3 ± 0.4,5\nSwin,ours,90.2 ± 0.4,5\n"
    )
    told = tell(tmp_path, "audit", text)
    assert list(told.rows["difference"]) == pytest.approx([0.1, -0.1])
    assert list(told.rows["dataset"]) == ["R50", "Swin"]
    assert set(told.rows["verdict"]) == {"inconclusive"}


def runs(name, values=("R50", "Swin"), effects=(0.02, -0.03), shift=0.1):
    draw = np.random.default_rng(3)
    return pd.DataFrame(
        [
            {name: value, "method": arm, "seed": seed,
             "dice": 0.7 + shift * place + effect * (arm == "ours") + draw.normal(0, 0.004)}
            for place, (value, effect) in enumerate(zip(values, effects, strict=True))
            for arm in ("unet", "ours") for seed in range(5)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["Backbone", "encoder", "Dataset", "cohort", "Benchmark", "base_model"]
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_rows_per_seed_are_compared_within_each_stratum(tmp_path, name, command):
    table = runs(name)
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.code == 0, told.text
    assert len(told.rows) == 2
    rows = told.rows.set_index("dataset")
    for value, part in table.groupby(name):
        difference, p = paired_t(part)
        assert rows.loc[value, "difference"] == pytest.approx(difference, rel=1e-9)
        assert rows.loc[value, "p_t"] == pytest.approx(p, rel=1e-9)
        assert f"On {value}: " in told.text
    assert list(rows["verdict"]) == ["supported", "contradicted"]
    assert "2 case" not in told.text


def test_backbones_of_several_data_sets_are_joined(tmp_path):
    parts = [runs("Backbone").assign(dataset=name) for name in ("BUSI", "ISIC")]
    told = tell(tmp_path, "audit", pd.concat(parts).to_csv(index=False), "--baseline", "unet")
    assert sorted(told.rows["dataset"]) == [
        "BUSI · R50",
        "BUSI · Swin",
        "ISIC · R50",
        "ISIC · Swin",
    ]


@pytest.mark.parametrize(
    ("columns", "regions"),
    [
        (("Dice (liver)", "Dice (tumour)"), ("liver", "tumour")),
        (("dice_liver", "dice_tumour"), ("liver", "tumour")),
        (("IoU class 1", "IoU class 2"), ("class 1", "class 2")),
        (("HD95 WT (mm)", "HD95 ET (mm)"), ("WT", "ET")),
    ],
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_column_per_region_is_compared_region_by_region(tmp_path, columns, regions, command):
    draw = np.random.default_rng(5)
    table = pd.DataFrame(
        [
            {"method": arm, "seed": seed,
             columns[0]: 0.9 + 0.02 * (arm == "ours") + draw.normal(0, 0.002),
             columns[1]: 0.6 - 0.03 * (arm == "ours") + draw.normal(0, 0.002)}
            for arm in ("unet", "ours") for seed in range(5)
        ]
    )  # fmt: skip
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.code == 0, told.text
    assert sorted(told.rows["dataset"]) == sorted(regions)
    rows = told.rows.set_index("dataset")
    for column, region in zip(columns, regions, strict=True):
        assert rows.loc[region, "difference"] == pytest.approx(paired_t(table, column)[0], rel=1e-9)
    assert "are read as regions, each compared by itself" in told.text


def test_a_plain_column_beside_regions_is_the_score_and_the_regions_are_named(tmp_path):
    text = "method,seed,dice,dice_liver\n" + "".join(
        f"{arm},{seed},{0.8 + 0.01 * (arm == 'ours') + 0.001 * seed * seed},0.5\n"
        for arm in ("unet", "ours") for seed in range(4)
    )  # fmt: skip
    told = tell(tmp_path, "audit", text)
    assert told.row["difference"] == pytest.approx(0.01)
    assert "not compared: dice_liver" in told.text


def test_an_arm_that_is_missing_on_one_data_set_does_not_take_the_others_along(tmp_path):
    table = runs("dataset", ("BUSI", "ISIC", "Kvasir"), (0.02, 0.02, 0.02))
    swin = runs("dataset", ("BUSI", "Kvasir"), (0.01, 0.01)).query("method == 'ours'")
    text = pd.concat([table, swin.assign(method="swin")]).to_csv(index=False)
    told = tell(tmp_path, "audit", text, "--baseline", "unet")
    assert len(told.rows) == 5
    assert "not in the table, and not compared: swin on ISIC" in told.text
    assert "5 comparisons with the baseline: p is adjusted over all of them" in told.text
    refused = tell(tmp_path, "compare", text, "--baseline", "unet")
    assert (refused.code, "data set 'ISIC' has no rows of arm 'swin'" in refused.text) == (2, True)
    assert len(tell(tmp_path, "compare", text, "--baseline", "unet", "--drop-unpaired").rows) == 5


def test_a_backbone_that_goes_with_the_arm_is_no_stratum(tmp_path):
    table = runs("seed_group", ("x",), (0.02,)).drop(columns="seed_group")
    table["Backbone"] = table["method"].map({"unet": "R50", "ours": "Swin"})
    told = tell(tmp_path, "compare", table.to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)
    assert "doubt: each arm has a Backbone of its own (R50, Swin)" in told.text


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_setting_under_a_name_that_nobody_knows_is_asked_for_or_doubted(tmp_path, command):
    table = runs("enc")
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.rows.empty
    assert "they differ in enc (R50, Swin); choose one value of it first" in told.text
    each = tell(
        tmp_path, command, table.to_csv(index=False), "--baseline", "unet", "--dataset", "enc"
    )
    assert sorted(each.rows["dataset"]) == ["R50", "Swin"]
    table.loc[table["enc"] == "Swin", "seed"] += 5
    pooled = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert "doubt: results are pooled over enc (R50, Swin): --where enc=…" in pooled.text


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_hospital_is_no_site_of_an_activation(tmp_path, command):
    from strangers import per_case

    table = per_case(site=lambda row: "Ulm" if row["case"] < "p06" else "Bern")
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.row["difference"] == pytest.approx(paired_t(table)[0], rel=1e-9)
    one = tell(
        tmp_path, command, table.to_csv(index=False), "--baseline", "unet", "--where", "site=Ulm"
    )
    assert one.row["difference"] == pytest.approx(
        paired_t(table[table["site"] == "Ulm"])[0], rel=1e-9
    )
