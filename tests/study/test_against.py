"""Two results of one configuration, side by side; verdicts that chance alone would give."""

import pandas as pd
import pytest
import studies
from small_results import write_small_results

from llm4seg_probe import tables
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.report.against import AGAINST, write_against
from llm4seg_probe.statistics.multiplicity import by_chance


def folder(path, difference, half, verdict):
    write_small_results(path)
    row = {"dataset": "toys", "score": "iou", "a": "llm", "b": "cnn", "claim": "boost"}
    numbers = {"difference": difference, "ci_low": difference - half, "ci_high": difference + half,
               "verdict": verdict}  # fmt: skip
    for schema in (tables.COMPARISON, tables.CLAIMS):
        table = studies.filled([{**row, **numbers}], schema)
        tables.write_table(table, path / schema.name, schema)
    return path


def test_what_agrees_and_what_changed_is_told(tmp_path):
    a = folder(tmp_path / "a", 0.02, 0.01, "supported")
    b = folder(tmp_path / "b", 0.01, 0.012, "inconclusive")
    found = write_against(a, b, tmp_path)
    assert found.rows["agrees"].tolist() == ["yes", "yes"]
    assert found.rows["change"].tolist() == ["decided and open"] * 2
    assert "2 of 2 differences agree within their intervals" in found.sentence
    assert "boost: supported here, inconclusive there" in found.sentence
    assert len(tables.read_table(tmp_path / "against.csv", AGAINST)) == 2


def test_opposite_verdicts_and_distant_numbers_are_told(tmp_path):
    a = folder(tmp_path / "a", 0.02, 0.01, "supported")
    b = folder(tmp_path / "b", -0.02, 0.01, "contradicted")
    found = write_against(a, b, tmp_path)
    assert found.rows["agrees"].tolist() == ["no", "no"]
    assert "2 of them to the opposite" in found.sentence


def test_two_configurations_are_refused(tmp_path):
    a = folder(tmp_path / "a", 0.02, 0.01, "supported")
    b = folder(tmp_path / "b", 0.02, 0.01, "supported")
    text = (b / "analysis.yaml").read_text()
    (b / "analysis.yaml").write_text(text.replace("size: small", "size: quick"))
    with pytest.raises(ConfigError, match=r"two configurations \(size differ\)"):
        write_against(a, b, tmp_path)


def test_chance_is_counted_by_families():
    claims = pd.DataFrame(
        {
            "claim": list("abcd"), "family": ["f", "f", "c", "d"],
            "verdict": ["supported", "inconclusive", "equivalent", "not run"],
        }
    )  # fmt: skip
    told = by_chance(claims)
    assert told.startswith("3 claims in 2 families, each with an error rate of 5 %")
    assert "a false verdict on about 10 % of such pages; 2 claims are decided here." in told
    assert by_chance(claims[claims["verdict"] == "not run"]) == ""
