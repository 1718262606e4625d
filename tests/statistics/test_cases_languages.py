"""Tables from elsewhere: encodings and forms of files, other languages, exports."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from strangers import OURS, UNET, compared

import llm4seg_probe as lp
from llm4seg_probe.errors import TableError

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
