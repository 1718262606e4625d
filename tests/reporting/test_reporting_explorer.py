"""What the case browser carries: cases, arrays and numbers, and how they are packed."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from demo_study import HOSTILE
from hypothesis import given
from hypothesis import strategies as st

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.drawing.table_rows import by_case, on_test_split
from llm4seg_probe.errors import TableError
from llm4seg_probe.probes.arrays import LEVELS, array_files, packed, read_map_arrays
from llm4seg_probe.probes.maps.gallery import write_gallery
from llm4seg_probe.report import methods
from llm4seg_probe.report.explorer import (
    APART,
    CHANCE,
    NAMED,
    chosen_cases,
    explorer_data,
    run_lengths,
)
from llm4seg_probe.report.report import write_report
from llm4seg_probe.report.results import read_results


def unpacked(text: str, kind: type = np.uint8) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def mask_of(lengths: bytes) -> list[int]:
    """Run lengths read as the page reads them."""
    found: list[int] = []
    value = length = shift = 0
    for byte in lengths:
        length += (byte & 127) << shift
        shift += 7
        if byte & 128:
            continue
        found += [value] * length
        value, length, shift = 1 - value, 0, 0
    return found


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), min_size=1, max_size=8))
def test_run_lengths_hold_any_mask(parts):
    mask = np.concatenate([np.full(count, value) for value, count in parts])
    assert mask_of(run_lengths(mask[None])) == mask.astype(int).tolist()


def test_the_explorer_carries_what_the_arrays_hold(results):
    (data,) = explorer_data(results)["sets"]
    arrays = results.arrays
    names = [case["name"] for case in data["cases"]]
    assert sorted(names) == sorted(arrays.image_names.tolist())
    (height, width), place = data["size"], names.index(HOSTILE[3])
    shown = arrays.image_names.tolist().index(HOSTILE[3])
    assert np.array_equal(
        unpacked(data["images"][place]).reshape(data["thumbnail"]), arrays.images[shown]
    )
    mask = mask_of(base64.b64decode(data["masks"][place]))
    assert np.array_equal(np.reshape(mask, (height, width)), arrays.masks[shown] > 0)
    levels = unpacked(data["maps"]["llm|3|after"][place], np.dtype("<u2"))
    kept = arrays.maps[arrays.map_place("llm", 3, "after"), shown]
    assert np.array_equal((levels / LEVELS).astype(np.float32).reshape(data["grid"]), kept)
    predicted = mask_of(base64.b64decode(data["predictions"]["cnn|1"][place]))
    row = arrays.prediction_place("cnn", 1)
    assert np.array_equal(np.reshape(predicted, (height, width)), arrays.prediction(row, shown))
    scores = on_test_split(results.tables["scores.csv"])
    (iou,) = scores.query("arm == 'adapters' and seed == 2 and image == @HOSTILE[3]")["iou"]
    assert data["iou"]["adapters|2"][place] == pytest.approx(iou, abs=5e-5)
    maps = results.tables["maps.csv"].query("null == '' and site == 'after' and arm == 'llm'")
    (iou,) = maps.query("seed == 4 and image == @HOSTILE[3]")["iou"]
    assert data["activation"]["llm|4|after"][place] == pytest.approx(iou, abs=5e-5)


def test_maps_are_stored_to_a_hundred_thousandth_and_predictions_to_the_bit(own_folder):
    with np.load(own_folder / "maps.npz") as stored:
        before = {name: stored[name] for name in stored.files}
    write_gallery([before], own_folder)
    arrays = read_map_arrays(own_folder / "maps.npz")
    assert np.abs(arrays.maps - before["maps"]).max() < 1e-5
    for row, image in ((0, 0), (7, 3), (24, 5)):
        expected = before["predictions"][row, image] > 0
        assert np.array_equal(arrays.prediction(row, image), expected)
    twice = packed(packed(before))
    assert twice["images"].shape == before["images"].shape
    with np.load(own_folder / "maps.npz") as stored:
        assert set(stored.files) == set(twice)


def test_large_images_become_thumbnails_and_masks_stay(results):
    arrays = results.arrays
    found = packed(
        {"images": np.zeros((2, 300, 200), np.uint8), "masks": np.ones((2, 300, 200), np.uint8)}
    )
    assert found["images"].shape == (2, 100, 67)
    assert found["masks"].shape == (2, 300, 200)
    bigger = replace(arrays, masks=np.repeat(np.repeat(arrays.masks, 2, -1), 2, -2))
    bits = np.packbits(np.zeros((25, 6, 192, 192), bool), axis=-1)
    bigger = replace(bigger, prediction_bits=bits)
    (data,) = explorer_data(replace(results, galleries=(bigger,)))["sets"]
    assert (data["size"], data["thumbnail"]) == ([192, 192], [96, 96])


def test_cases_are_those_named_a_dozen_apart_and_a_dozen_by_chance(study):
    results = read_results(study.parent)
    first, second = (
        chosen_cases(results, arrays, ["p01/slice013"]) for arrays in results.galleries
    )
    assert [len([case for case in first if case.why == why]) for why in (NAMED, APART)] == [1, 12]
    assert 10 <= len([case for case in first if case.why == CHANCE]) <= 12
    assert [case.name for case in second if case.why == NAMED] == ["p01/slice013"]
    part = results.of_dataset("spine")
    means = by_case(on_test_split(part.tables["scores.csv"]), "iou")
    spread = (means.max(axis=1) - means.min(axis=1)).droplevel("group")
    expected = set(spread.nlargest(13).index)
    assert {case.name for case in first if case.why == APART} <= expected
    for arrays, cases in zip(results.galleries, (first, second), strict=True):
        assert all(arrays.image_names[case.place] == case.name for case in cases)
        assert len({case.name for case in cases}) == len(cases)


def test_a_case_that_is_not_there_is_refused_before_anything_is_drawn(own_folder):
    with pytest.raises(TableError, match=r"unknown case 'case3/slice016x'. Did you mean 'case3/"):
        write_report(own_folder, cases=["case3/slice016x"])
    assert not (own_folder / "figures").exists()
    (own_folder / "maps.npz").unlink()
    with pytest.raises(TableError, match=r"holds no maps\.npz, so the explorer has no cases"):
        write_report(own_folder, cases=["a"])


def test_runs_that_saw_other_images_have_files_of_their_own(own_folder):
    with np.load(own_folder / "maps.npz") as stored:
        first = {name: stored[name] for name in stored.files}
    other = {**first, "image_names": np.array([f"other{i}" for i in range(6)])}
    write_gallery([first, other, first], own_folder)
    one, two = array_files(own_folder)
    assert (one.name, two.name) == ("maps.npz", "maps-2.npz")
    assert len(read_map_arrays(one).maps) == 2 * len(first["maps"])
    assert read_map_arrays(two).image_names[0] == "other0"
    write_gallery([first], own_folder)
    assert array_files(own_folder) == [one]


def test_sets_of_images_are_named_by_their_data_and_what_their_runs_share(study, results):
    sets = explorer_data(read_results(study.parent))["sets"]
    assert [one["name"] for one in sets] == ["spine", "<i>shapes</i>"]
    arrays = results.arrays
    deviating = replace(
        arrays, map_arm=np.array([f"{arm}[data.split=own]" for arm in arrays.map_arm])
    )
    twice = replace(results, galleries=(arrays, deviating))
    names = [one["name"] for one in explorer_data(twice)["sets"]]
    assert names == ["spine", "spine, data.split own"]


def test_methods_know_every_option_that_they_put_into_words():
    fields = BoosterConfig.model_fields
    assert set(methods._ATTENTION) == set(get_args(fields["attention"].annotation))
    assert set(methods._POSITION) == set(get_args(fields["position"].annotation))


def test_one_file_holds_the_first_seeds_that_fit_and_counts_the_others(results):
    whole = explorer_data(results)
    (data,) = whole["sets"]
    assert whole["left_out"] == 0
    each = {
        seed: sum(
            len(text)
            for kind in ("maps", "predictions")
            for key, texts in data[kind].items()
            if key.split("|")[1] == str(seed)
            for text in texts
        )
        for seed in data["seeds"]
    }
    first, second, *others = data["seeds"]
    limited = explorer_data(results, most=each[first] + each[second])
    assert limited["left_out"] == len(others) > 0
    (fewer,) = limited["sets"]
    assert fewer["seeds"] == [first, second]
    for kind in ("maps", "predictions", "iou", "activation"):
        assert {key.split("|")[1] for key in fewer[kind]} == {str(first), str(second)}
        assert all(fewer[kind][key] == data[kind][key] for key in fewer[kind])
    assert explorer_data(results, most=1)["sets"][0]["seeds"] == [first]
