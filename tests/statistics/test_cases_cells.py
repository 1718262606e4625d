"""Numbers as people write them: read as what they are, or named with their row."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from strangers import OURS, UNET, paired_t, per_case, per_seed_csv, tell

from llm4seg_probe.errors import TableError
from llm4seg_probe.statistics.cells import mean_and_sd, printed, read_numbers, undressed

# -- printed means ---------------------------------------------------------------------------

PLAIN = ["85.3 ± 2.1", "85.9 ± 1.9", "86.1 ± 2.0", "88.4 ± 1.2"]


def printed_csv(cells, separator=","):
    rows = zip(("unet", "attention", "swin", "ours"), cells, strict=True)
    lines = [separator.join([name, f'"{cell}"', "5"]) for name, cell in rows]
    return "\n".join([separator.join(["Method", "Dice", "n"]), *lines])


@pytest.mark.parametrize(
    "best",
    [
        "**88.4 ± 1.2**", r"\textbf{88.4} \pm 1.2", r"\textbf{88.4 ± 1.2}", "88.4 ± 1.2*",
        "*88.4 ± 1.2*",         r"$\mathbf{88.4 \pm 1.2}$", r"\underline{88.4 $\pm$ 1.2}",
        "<b>88.4 ± 1.2</b>", "88.4 ± 1.2 †",
        "88.4±1.2", "88.4 +/- 1.2", "88.4 (1.2)", "88.4 (± 1.2)", "88.4 [1.2]", r"88.4$_{\pm 1.2}$",
        "88.4 % ± 1.2 %", "88.4\u00a0±\u00a01.2", r"\cellcolor{gray}88.4 ± 1.2", "__88.4 ± 1.2__",
        r"88.4 ± 1.2$^{\dagger}$", "(88.4 ± 1.2)", "88.4 (SD 1.2)", "88.4(12)",
    ],
)  # fmt: skip
def test_the_best_row_is_not_left_out_because_it_is_marked(tmp_path, best):
    told = tell(tmp_path, "audit", printed_csv([*PLAIN[:3], best]))
    assert told.code == 0, told.text
    row = told.rows.set_index("a").loc["ours"]
    assert row["difference"] == pytest.approx(3.1)
    p = 2 * stats.t.sf(3.1 * np.sqrt(5) / np.hypot(2.1, 1.2), 4)
    assert row["p_uncorrelated"] == pytest.approx(p)
    assert len(told.rows) == 3


@pytest.mark.parametrize(
    "form", [r"${} \pm {}$", "{} ± {}*", "{} (± {})", r"\textit{{{} ± {}}}", "{}%±{}%"]
)
def test_a_table_in_which_every_cell_is_marked(tmp_path, form):
    cells = [form.format(*cell.split(" ± ")) for cell in PLAIN]
    told = tell(tmp_path, "audit", printed_csv(cells))
    assert told.rows.set_index("a").loc["ours", "difference"] == pytest.approx(3.1)


def test_decimal_commas_and_minus_signs_in_printed_means(tmp_path):
    comma = tell(tmp_path, "audit", printed_csv([cell.replace(".", ",") for cell in PLAIN], ";"))
    assert comma.rows.set_index("a").loc["ours", "difference"] == pytest.approx(3.1)
    text = "Method;gain;n\nunet;−0.5 ± 0.2;5\nours;0.7 ± 0.2;5\n"
    assert tell(tmp_path, "audit", text).row["difference"] == pytest.approx(1.2)


@pytest.mark.parametrize("cell", ["88.4 ± about 1", "see text", "88.4 (85.1, 90.2)", "88.4"])
def test_a_cell_that_is_no_mean_is_named_and_not_dropped(tmp_path, cell):
    told = tell(tmp_path, "audit", printed_csv([*PLAIN[:3], cell]))
    assert told.code == 2
    assert "row 5 (ours), column Dice" in told.text
    assert f"'{cell}' is not a mean ± SD" in told.text


def test_an_empty_cell_is_left_out_and_named(tmp_path):
    told = tell(tmp_path, "audit", printed_csv([*PLAIN[:2], "–", PLAIN[3]]))
    assert list(told.rows["a"]) == ["attention", "ours"]
    assert "row 4 (swin), column Dice is empty: left out" in told.text
    assert "row 4 (swin), column Dice is empty: left out" in told.page


def test_the_short_form_of_an_uncertainty():
    assert mean_and_sd("0.853(21)") == ("0.853", "0.021")
    assert mean_and_sd("85.3(2)") == ("85.3", "0.2")


@pytest.mark.parametrize("scale", ["", "e-05", "E-5", "×10^-5", " · 10⁻⁵"])
def test_printed_exponents_are_not_decimals(tmp_path, scale):
    rows = f"unet,3.12{scale},2.1{scale},5\nours,2.05{scale},1.9{scale},5\n"
    text = f"method,loss_mean,loss_std,n\n{rows}"
    row = tell(tmp_path, "audit", text).row
    plain = tell(
        tmp_path, "audit", "method,loss_mean,loss_std,n\nunet,3.12,2.1,5\nours,2.05,1.9,5\n"
    ).row
    for name in ("crossing", "crossing_low", "crossing_high", "p_uncorrelated"):
        assert row[name] == pytest.approx(plain[name], rel=1e-6)
    assert printed("3.12e-05").half == pytest.approx(0.5e-7)


def test_unequal_numbers_of_runs_leave_only_their_own_pair_out(tmp_path):
    text = "Method,Dice,n\nunet,85.3 ± 2.1,5\nswin,86.1 ± 2.0,3\nours,88.4 ± 1.2,5\n"
    told = tell(tmp_path, "audit", text)
    assert list(told.rows["a"]) == ["ours"]
    assert "not compared: swin has 3 runs and unet 5" in told.text


def test_standard_errors_are_turned_into_sds(tmp_path):
    of_sd = tell(tmp_path, "audit", "method,dice_mean,dice_sd,n\nunet,80,2,4\nours,83,2,4\n").row
    of_se = tell(tmp_path, "audit", "method,dice_mean,dice_se,n\nunet,80,1,4\nours,83,1,4\n")
    assert of_se.row["p_uncorrelated"] == pytest.approx(of_sd["p_uncorrelated"])
    assert "standard errors are turned into SDs" in of_se.text


# -- single results --------------------------------------------------------------------------

FORMS = {
    "comma": lambda v: f"{v:.5f}".replace(".", ","),
    "comma exponent": lambda v: f"{v:.6e}".replace(".", ","),
    "exponent": lambda v: f"{v:.6E}",
    "minus sign": lambda v: f"{v - 0.78:.5f}".replace("-", "−"),
    "plus": lambda v: f"{v:+.5f}",
    "bold": lambda v: f"**{v:.5f}**",
    "latex": lambda v: rf"$\mathbf{{{v:.5f}}}$",
    "star": lambda v: f"{v:.5f}*",
    "percent": lambda v: f"{100 * v:.3f}%",
    "percent with a space": lambda v: f"{100 * v:.3f} %",
    "no-break space": lambda v: f"\u00a0{v:.5f}\u00a0",
    "quoted for a spreadsheet": lambda v: f'="{v:.5f}"',
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("command", "separator"),
    [("compare", ","), ("compare", ";"), ("compare", "\t"), ("compare", "|"), ("audit", ";")],
)
def test_every_way_to_write_a_number(tmp_path, form, separator, command):
    table = per_case(seeds=4, cases=3)
    written = table.assign(gain=table["dice"].map(FORMS[form])).drop(columns="dice")
    text = "\ufeff" + written.to_csv(index=False, sep=separator)
    told = tell(tmp_path, command, text, "--baseline", "unet")
    assert told.code == 0, told.text
    scale = 100 if "percent" in form else 1
    difference, p = paired_t(table)
    assert told.row["difference"] == pytest.approx(scale * difference, rel=1e-3)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-2)


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_small_numbers_with_decimal_commas_keep_their_size_and_sign(tmp_path, command):
    draw = np.random.default_rng(0)
    table = pd.DataFrame(
        [{"method": arm, "seed": s, "case": f"c{c}", "loss": value}
         for s in range(5) for c in range(12)
         for arm, mean in (("unet", 1e-4), ("ours", 8e-5))
         for value in [mean + draw.normal(0, 1e-5)]]
    )  # fmt: skip
    text = table.to_csv(index=False, sep=";", decimal=",")
    assert "e-05" in text
    told = tell(tmp_path, command, text, "--baseline", "unet", "--margin", "1e-6")
    difference, p = paired_t(table, "loss")
    assert told.row["difference"] == pytest.approx(difference, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-9)
    assert told.row["verdict"] == "supported"


@pytest.mark.parametrize(
    "cell", ["abc", "0.7.1", "0.71 or so", "0,7,1", "(0.71)", "0.71 ± 0.02", "7:12"]
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_one_cell_that_is_no_number_is_named_with_its_row(tmp_path, cell, command):
    table = per_case().astype({"dice": str})
    table.loc[40, "dice"] = cell
    told = tell(tmp_path, command, table.to_csv(index=False), "--baseline", "unet")
    assert told.code == 2
    assert f"row 42: dice '{cell}' is not a number" in told.text


@pytest.mark.parametrize(
    "cell", ["0.72597*", "**0.72597**", "0,72597", " 0.72597 ", "7.2597e-1", "72597e-5"]
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_one_cell_that_is_written_otherwise_is_read(tmp_path, cell, command):
    table = per_case()
    table.loc[40, "dice"] = 0.72597
    written = table.astype({"dice": str})
    written.loc[40, "dice"] = cell
    told = tell(tmp_path, command, written.to_csv(index=False), "--baseline", "unet")
    difference, p = paired_t(table)
    assert told.row["difference"] == pytest.approx(difference, rel=1e-9)
    assert told.row["p_t"] == pytest.approx(p, rel=1e-9)
    assert told.row["n_cases"] == 12


def test_one_cell_in_per_cent_is_refused(tmp_path):
    written = per_case().astype({"dice": str})
    written.loc[40, "dice"] = "72.6%"
    told = tell(tmp_path, "audit", written.to_csv(index=False))
    assert (told.code, "1 of 120 cells are marked as per cent" in told.text) == (2, True)


@pytest.mark.parametrize("command", ["compare", "audit"])
def test_a_comma_that_may_be_either_is_asked_about(tmp_path, command):
    rows = ["base;0;1,234", "base;1;1,240", "base;2;998", "new;0;1,134", "new;1;1,120", "new;2;905"]
    text = "\n".join(["method;seed;perplexity", *rows])
    told = tell(tmp_path, command, text, "--baseline", "base")
    assert told.code == 2
    assert "perplexity '1,234' may be 1.234 or 1234" in told.text
    thousands = tell(tmp_path, command, text, "--baseline", "base", "--decimal", ".")
    assert thousands.row["difference"] == pytest.approx(-(100 + 120 + 93) / 3)
    decimals = tell(tmp_path, command, text, "--baseline", "base", "--decimal", ",")
    assert decimals.row["difference"] == pytest.approx(
        (1.134 + 1.12 + 905 - 1.234 - 1.24 - 998) / 3
    )


@pytest.mark.parametrize(
    ("cells", "values", "note"),
    [
        (["1,234.5", "998.1"], [1234.5, 998.1], "separates thousands"),
        (["1.234,5", "998,1"], [1234.5, 998.1], "decimal mark"),
        (["1 234,5", "998,1"], [1234.5, 998.1], "decimal mark"),
        (["1'234.5", "998.1"], [1234.5, 998.1], ""),
        (["1,234,567", "2"], [1234567, 2], "separates thousands"),
        (["0,811", "0,802"], [0.811, 0.802], "decimal mark"),
        (["12,5", "1,234"], [12.5, 1.234], "decimal mark"),
    ],
)
def test_commas_that_other_cells_settle(cells, values, note):
    found = read_numbers(pd.Series(cells, name="x"))
    assert found.values.tolist() == values
    assert note in " ".join(found.notes)


@pytest.mark.parametrize(
    "pair", [("True", "False"), ("true", "false"), ("TRUE", "FALSE"), ("yes", "no")]
)
@pytest.mark.parametrize("command", ["compare", "audit"])
def test_booleans_are_ones_and_zeros(tmp_path, pair, command):
    draw = np.random.default_rng(1)
    table = pd.DataFrame(
        [{"method": arm, "seed": s, "sample": c, "correct": int(draw.random() < share)}
         for arm, share in (("unet", 0.6), ("ours", 0.8)) for s in range(5) for c in range(40)]
    )  # fmt: skip
    written = table.assign(correct=table["correct"].map({1: pair[0], 0: pair[1]}))
    told = tell(
        tmp_path, command, written.to_csv(index=False), "--baseline", "unet", "--score", "correct"
    )
    assert told.row["difference"] == pytest.approx(paired_t(table, "correct")[0], rel=1e-9)
    assert "true and false are read as 1 and 0" in told.text
    assert "identical scores" not in told.text
    assert "rounded" not in told.text


def test_infinite_empty_and_unreadable_are_three_things():
    values = read_numbers(pd.Series(["1.5", "", "n/a", "inf", "-∞"], name="x")).values
    assert np.isnan(values[1:3]).all()
    assert (values[3], values[4]) == (np.inf, -np.inf)
    with pytest.raises(TableError, match="row 3: x 'infinite' is not a number"):
        read_numbers(pd.Series(["1.5", "infinite"], name="x"))


def test_marks_do_not_eat_numbers():
    for plain in ("-1.5e-05", "0.71", "12", "-3"):
        assert undressed(plain) == plain
    assert undressed("**−0.71**") == "-0.71"


def test_the_same_seeds_give_the_same_numbers_in_every_dialect(tmp_path):
    plain = tell(tmp_path, "compare", per_seed_csv(), "--baseline", "unet").row
    for text in (
        per_seed_csv().replace(",", ";").replace(".", ","),
        "sep=;\n" + per_seed_csv().replace(",", ";"),
        "# made by a script\n" + per_seed_csv(),
        "# " + per_seed_csv(),
        per_seed_csv().replace("\n", "\r\n"),
        "\n".join(f"| {line.replace(',', ' | ')} |" for line in per_seed_csv().splitlines()[:1])
        + "\n|---|---|---|\n"
        + "\n".join(f"| {line.replace(',', ' | ')} |" for line in per_seed_csv().splitlines()[1:]),
    ):
        row = tell(tmp_path, "compare", text, "--baseline", "unet").row
        pd.testing.assert_series_equal(row, plain)
    assert plain["difference"] == pytest.approx(np.mean(np.subtract(OURS, UNET)))
    utf16 = tmp_path / "utf16.csv"
    utf16.write_text(per_seed_csv(), encoding="utf-16")
    pd.testing.assert_series_equal(
        tell(tmp_path, "compare", utf16, "--baseline", "unet").row, plain
    )
