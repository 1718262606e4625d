from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from llm4seg_probe.errors import ConfigError, TableError
from llm4seg_probe.probes.rank import RANK
from llm4seg_probe.report.results import read_map_arrays, read_results
from llm4seg_probe.tables import RUNS, SCORES, read_table, write_table


def stored(folder) -> dict[str, np.ndarray]:
    with np.load(folder / "maps.npz", allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def test_everything_is_read(results):
    assert results.context.question.startswith("Does a frozen")
    assert results.context.dataset.counts == {"cases": 6, "training slices": 150, "test slices": 20}
    assert results.main_score == "iou"
    assert results.arrays.first_seed == 0
    for name in ("runs.csv", "scores.csv", "rank.csv", "maps.csv", "comparison.csv", "claims.csv"):
        assert results.has(name)
    assert results.has("maps.npz")


def test_what_is_missing_or_empty_was_not_run(own_folder):
    (own_folder / "maps.npz").unlink()
    (own_folder / "comparison.csv").unlink()
    rank = read_table(own_folder / "rank.csv", RANK)
    write_table(rank.head(0), own_folder / "rank.csv", RANK)
    results = read_results(own_folder)
    assert not {name for name in ("maps.npz", "comparison.csv", "rank.csv") if results.has(name)}
    assert results.main_score == "iou"


def test_a_folder_without_a_description(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file: .*analysis\.yaml"):
        read_results(tmp_path)


def test_a_description_that_lacks_what_it_rests_on(own_folder):
    text = (own_folder / "analysis.yaml").read_text()
    kept = [line for line in text.splitlines() if not line.startswith(("rests_on", "  six people"))]
    (own_folder / "analysis.yaml").write_text("\n".join(kept))
    with pytest.raises(ConfigError, match=r"analysis\.yaml: rests_on: Field required"):
        read_results(own_folder)


def test_a_broken_table_is_an_error_and_not_absent(own_folder):
    (own_folder / "rank.csv").write_text("run,arm\nx,cnn\n")
    with pytest.raises(TableError, match=r"rank\.csv lacks the columns"):
        read_results(own_folder)


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "maps.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(TableError, match=r"maps\.npz is not a readable array file"):
        read_map_arrays(tmp_path / "maps.npz")


def test_objects_are_not_unpickled(own_folder):
    arrays = stored(own_folder)
    arrays["image_names"] = np.array([["object"]] * 6, dtype=object)
    np.savez(own_folder / "maps.npz", **arrays)
    with pytest.raises(TableError, match=r"not readable .*of type object"):
        read_map_arrays(own_folder / "maps.npz")


def test_an_array_that_is_missing(own_folder):
    arrays = stored(own_folder)
    del arrays["predictions"]
    np.savez(own_folder / "maps.npz", **arrays)
    with pytest.raises(TableError, match="predictions is not in it; it needs"):
        read_map_arrays(own_folder / "maps.npz")


@pytest.mark.parametrize(
    ("name", "named"),
    [("masks", "prediction_bits"), ("image_names", "image_names"), ("map_site", "map_site"),
     ("predictions", "prediction_bits")],
)  # fmt: skip
def test_arrays_that_do_not_fit_each_other(own_folder, name, named):
    arrays = stored(own_folder)
    arrays[name] = arrays[name][:, :-1] if arrays[name].ndim > 1 else arrays[name][:-1]
    np.savez(own_folder / "maps.npz", **arrays)
    with pytest.raises(TableError, match=rf"{named} has shape .* fits the others"):
        read_map_arrays(own_folder / "maps.npz")


def test_no_file_and_no_maps_are_none(own_folder, tmp_path):
    assert read_map_arrays(tmp_path / "absent.npz") is None
    arrays = stored(own_folder)
    for name in ("map_run", "map_arm", "map_seed", "map_site", "maps"):
        arrays[name] = arrays[name][:0]
    np.savez(own_folder / "maps.npz", **arrays)
    assert read_map_arrays(own_folder / "maps.npz") is None


def test_runs_of_a_sweep_are_told_apart_in_tables_and_arrays(own_folder):
    scores = read_table(own_folder / "scores.csv", SCORES)
    again = scores[scores["arm"] == "llm"]
    again = again.assign(run=again["run"].str.replace("llm-", "llm10-"))
    write_table(pd.concat([scores, again]), own_folder / "scores.csv", SCORES)
    runs = read_table(own_folder / "runs.csv", RUNS)
    other = runs[runs["arm"] == "llm"]
    other = other.assign(run=other["run"].str.replace("llm-", "llm10-"), layer="10")
    write_table(pd.concat([runs, other]), own_folder / "runs.csv", RUNS)
    results = read_results(own_folder)
    arms = set(results.tables["scores.csv"]["arm"])
    assert {"llm[layer=15]", "llm[layer=10]", "cnn"} <= arms
    assert "llm" not in arms
    assert "llm" in set(results.tables["rank.csv"]["arm"])
