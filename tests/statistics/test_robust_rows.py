"""Seeds that do not belong are named beside a verdict, and never change it."""

import numpy as np
import pandas as pd
import pytest
import studies

from llm4seg_probe.statistics.compare import compare


def table(values, arm="llm"):
    cnn = 0.6 + 0.01 * np.sin(np.arange(len(values)))
    return studies.per_seed(**{"cnn": cnn, arm: cnn + values})


GOOD = np.array([0.021, 0.018, 0.024, 0.02, 0.017, 0.023, 0.019, 0.022])


@pytest.mark.parametrize("looks", [None, (5, 8)])
def test_a_collapsed_run_is_named_with_the_verdict_without_it(looks):
    values = GOOD.copy()
    values[4] = -0.5
    row = compare(table(values), bootstrap=0, looks=looks).iloc[0]
    assert row["verdict"] == "inconclusive"
    assert (
        "Seed 4 (-0.5, llm collapsed) does not belong to the rest; without it supported"
        in (row["sentence"])
    )
    assert "1 of 8 runs of llm collapsed and 0 of 8 runs of cnn collapsed." in row["sentence"]
    assert "a 95 % interval of five seeds held the truth in 47 %" in row["sentence"]
    assert ("looks from five seeds on decided 49 %" in row["sentence"]) == (looks is not None)
    assert (row["collapsed_a"], row["collapsed_b"], row["shape"]) == (1, 0, "collapse")
    assert row["median_difference"] == pytest.approx(np.median(values))


def test_where_all_belong_nothing_is_said():
    row = compare(table(GOOD), bootstrap=0).iloc[0]
    assert row["shape"] == "normal"
    assert row["sentence"].endswith(f"p = {row['p_adjusted']:.2g}.")


def test_unpaired_runs_and_few_seeds_have_no_such_columns():
    assert pd.isna(compare(table(GOOD[:4]), bootstrap=0).iloc[0]["shape"])
    unpaired = compare(table(GOOD), bootstrap=0, unpaired=True).iloc[0]
    assert pd.isna(unpaired["hodges_lehmann"])
