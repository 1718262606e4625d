"""On the real data set: fetched from PyPI and converted, so all but the last tests are slow."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest

from llm4seg_probe.config import DataConfig
from llm4seg_probe.data import spine
from llm4seg_probe.data.batches import ImageDataset
from llm4seg_probe.data.datasets import catalogue, catalogue_table, open_collection
from llm4seg_probe.data.splits import SIDES, split_of
from llm4seg_probe.errors import DownloadError

SLICES = {"ct-1": 34, "ct-2": 75, "ct-3": 20, "ct-4": 47, "mr-5": 19, "mr-6": 52}
NO_INDEX = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_INDEX": "1"}


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that holds the real data set."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM4SEG_PROBE_CACHE", str(cache))
        spine.open_spine()
    return cache


@pytest.fixture
def offline(fetched, monkeypatch):
    """The fetched data set with no package index to be reached."""
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(fetched))
    for name, value in NO_INDEX.items():
        monkeypatch.setenv(name, value)
    return open_collection("spine")


@pytest.mark.slow
def test_six_cases_with_their_slices(offline):
    cases = [sample.group for sample in offline.samples]
    assert {case: cases.count(case) for case in dict.fromkeys(cases)} == SLICES
    assert len(offline.samples) == 247
    assert {s.slice_spacing for s in offline.samples} == {10.0, 3.0, 2.0, 1.5}


# Foreground of the published masks in their own grids: centroid in millimetres (right, anterior,
# superior) and volume in ml, computed from the archives with nibabel.affines.apply_affine and the
# headers' affines, without any code of ours.
PUBLISHED = {
    "ct-1": ((-3.2, -82.5, -195.1), 667.2),
    "ct-2": ((-3.4, 120.1, 314.2), 408.5),
    "ct-3": ((8.2, 104.9, -787.0), 63.9),
    "ct-4": ((-24.6, -177.2, -70.9), 122.7),
    "mr-5": ((-2.5, -20.4, 57.1), 54.2),
    "mr-6": ((-7.2, 76.9, 110.9), 110.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", PUBLISHED)
def test_the_masks_lie_where_the_published_ones_lie(offline, case):
    centroid, millilitres = PUBLISHED[case]
    mask = nibabel.load(spine.folder() / "masks" / f"{case}.nii")
    voxels = np.argwhere(np.asanyarray(mask.dataobj) > 0)
    place = nibabel.affines.apply_affine(mask.affine, voxels).mean(axis=0)
    assert np.abs(place - centroid).max() < 0.5
    volume = len(voxels) * abs(np.linalg.det(mask.affine[:3, :3])) / 1000
    assert volume == pytest.approx(millilitres, rel=0.03)
    image = nibabel.load(spine.folder() / "images" / f"{case}.nii")
    np.testing.assert_array_equal(image.affine, mask.affine)


@pytest.mark.slow
def test_every_slice_shows_a_whole_vertebra(offline):
    shares: dict[str, list[float]] = {}
    for sample in offline.samples:
        raw = offline.read(sample)
        assert raw.image.shape == raw.mask.shape == (1, 96, 96)
        assert raw.spacing == pytest.approx((1.5, 1.5))
        assert raw.mask.any()
        border = np.concatenate([raw.mask[0, [0, -1]].ravel(), raw.mask[0, :, [0, -1]].ravel()])
        assert not border.any()
        shares.setdefault(sample.group, []).append(float(raw.mask.mean()))
    percent = {case: 100 * np.mean(found) for case, found in shares.items()}
    expected = {"ct-1": 9.4, "ct-2": 8.8, "ct-3": 7.5, "ct-4": 8.4, "mr-5": 4.6, "mr-6": 6.8}
    assert percent == pytest.approx(expected, abs=0.1)


@pytest.mark.slow
def test_vertebrae_of_ct_are_brighter_than_what_is_around_them(offline):
    for sample in offline.samples:
        if sample.modality == "ct":
            raw = offline.read(sample)
            inside = raw.image[raw.mask].mean()
            assert inside > raw.image[~raw.mask].mean() + 100
            assert raw.image.min() >= -1024


@pytest.mark.slow
def test_front_is_up_and_right_is_left(offline):
    for sample in offline.samples[::40]:
        pixels = np.asanyarray(nibabel.load(sample.image_file).dataobj)
        # The file is right-anterior-superior: its axes grow to the right and to the front.
        assert nibabel.aff2axcodes(nibabel.load(sample.image_file).affine) == ("R", "A", "S")
        shown = pixels[::-1, ::-1, sample.slice].T
        np.testing.assert_array_equal(offline.read(sample).image[0], shown)
    # Air behind the back fills the last rows of the thin sides of the three whole bodies.
    for case in ("ct-1", "ct-2", "ct-3"):
        slices = [offline.read(s).image[0] for s in offline.samples if s.group == case]
        assert np.mean([image[-1] < -500 for image in slices]) > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["blocks", "cases", "groups", "reference"])
def test_each_split_of_the_real_slices_passes_its_checks(offline, kind):
    split = split_of(offline, DataConfig(split=kind))
    sizes = {
        "blocks": [129, 43, 43], "cases": [105, 47, 95],
        "groups": [166, 47, 34], "reference": [173, 74, 74],
    }  # fmt: skip
    assert [len(split.side(side)) for side in SIDES] == sizes[kind]
    sides_of = {offline.sample(image).group: side for side in SIDES for image in split.side(side)}
    if not split.within_case:
        assert sides_of["ct-2"] == sides_of["ct-3"]


@pytest.mark.slow
def test_the_volumes_hold_the_slices(offline):
    volumes = open_collection("spine-volumes")
    assert [volumes.read(s).image.shape[1] for s in volumes.samples] == [34, 112, 20, 47, 20, 52]
    for sample in offline.samples[::20]:
        whole, one = volumes.read(volumes.sample(sample.group)), offline.read(sample)
        np.testing.assert_array_equal(whole.image[:, sample.slice], one.image)
        np.testing.assert_array_equal(whole.mask[:, sample.slice], one.mask)
        assert whole.spacing == pytest.approx((sample.slice_spacing, 1.5, 1.5))


@pytest.mark.slow
def test_the_training_side_becomes_tensors(offline):
    config = DataConfig()
    dataset = ImageDataset(offline, split_of(offline, config).train, config, 0)
    for image, mask, _ in dataset:
        assert image.shape == mask.shape == (1, 96, 96)
        assert image.isfinite().all()
        assert 0 < mask.mean() < 0.3


@pytest.mark.slow
def test_a_damaged_copy_is_said_so_and_fetched_again_to_the_same_bits(
    fetched, offline, tmp_path, monkeypatch, capsys
):
    shutil.copytree(fetched, tmp_path / "cache")
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "cache"))
    for name in NO_INDEX:
        monkeypatch.delenv(name)
    image = spine.folder() / "images" / "mr-6.nii"
    image.write_bytes(image.read_bytes()[:5000])
    again = open_collection("spine")
    assert "is damaged; fetching it again" in " ".join(capsys.readouterr().err.split())
    assert again.fingerprint == offline.fingerprint
    assert sorted(path.name for path in spine.folder().iterdir()) == [
        "dataset.json", "images", "masks", "samples.csv",
    ]  # fmt: skip
    assert [path.name for path in spine.folder().parent.iterdir() if path.is_dir()] == [
        spine.folder().name
    ]


@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_that_passes_for_whole(tmp_path, monkeypatch, offline):
    for name in NO_INDEX:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    command = "from llm4seg_probe.data import spine; spine.open_spine()"
    process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
    while not list(tmp_path.glob("data/.spine-*/packages/slicerio*")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not spine.folder().exists()
    assert not spine.is_here()
    assert open_collection("spine").fingerprint == offline.fingerprint
    assert not list(tmp_path.glob("data/.spine-*"))


@pytest.mark.slow
def test_without_a_network_the_first_fetch_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    for name, value in NO_INDEX.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DownloadError, match=r"slicerio 1\.4\.0 could not be fetched from PyPI"):
        open_collection("spine")
    assert not spine.folder().exists()


def test_the_catalogue_says_where_the_masks_come_from_and_on_which_terms(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path))
    entry = catalogue()[0]
    assert (entry.name, entry.here, entry.download_mb) == ("spine", False, 47.6)
    assert "reference masks" in entry.summary
    text = f"{entry.summary} {entry.note}".lower()
    assert "ground truth" not in text
    assert "expert" not in text
    for caveat in ("model's own output", "not stated", "judged by eye", "ragged", "patches"):
        assert caveat in text
    for package in ("slicerio", "TotalSegmentator", "TPTBox"):
        assert package in entry.source
        assert package in entry.licence
    table = catalogue_table()
    assert list(table["name"])[:3] == ["spine", "spine-volumes", "spine-levels"]
    assert not table["here"].any()
