"""Files of the same kinds as those that were told, in other spellings, sizes and formats."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data import formats
from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection


def pictures(folder, count=6):
    draw = np.random.default_rng(0)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:12, 6:20] = 255
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        grey = draw.integers(0, 255, (32, 32)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"images/c{number}.png")
        Image.fromarray(mask).save(folder / f"masks/c{number}.png")
    return folder


def groups_of(folder, rows, header="image,group"):
    lines = [header, *(f"c{number}.png,{group}" for number, group in enumerate(rows))]
    (folder / "groups.csv").write_text("\n".join(lines) + "\n")
    collection = listed_collection(str(folder))
    said = " ".join(found.sentence for found in check_collection(collection).findings)
    return [sample.group for sample in collection.samples], said


@pytest.mark.parametrize("cell", ["NA", "nan", "None", "unknown", "-", "?"])
def test_a_cell_that_says_that_nobody_knows_is_no_patient(tmp_path, cell):
    found, said = groups_of(pictures(tmp_path), [cell, cell, "p1", "p1", "p2", "p2"])
    assert found == ["c0", "c1", "p1", "p1", "p2", "p2"]
    assert "2 image(s) have an empty group and count as patients of their own (c0, c1)" in said


def test_numbers_with_zeros_before_them_are_one_patient(tmp_path):
    found, said = groups_of(pictures(tmp_path), ["1", "01", "2", "002", "10", "10.0"])
    assert found == ["1", "1", "2", "2", "10", "10"]
    assert "'1' and '01' are taken as one group" in said


@pytest.mark.parametrize("name", ["Patienten-ID", "Patient_Nr", "PID", "MRN", "patient name"])
def test_patients_by_another_name_of_the_column(tmp_path, name):
    rows = ["p0", "p0", "p1", "p1", "p2", "p2"]
    found, said = groups_of(pictures(tmp_path), rows, f"image,{name}")
    assert found == rows
    assert f"the column '{name}' says whose an image is" in said


@pytest.mark.parametrize(
    "slant", [[[0.7, 0.2, 0], [0, 0.7, 0], [0, 0, 2]], [[0.7, 0, 0], [0, 0.7, 0.5], [0, 0, 2]]]
)
def test_axes_that_are_not_at_right_angles_are_told(tmp_path, slant):
    affine = np.eye(4)
    affine[:3, :3] = slant
    for part, kind in (("images", np.int16), ("masks", np.uint8)):
        (tmp_path / part).mkdir()
        for number in range(2):
            values = np.random.default_rng(number).integers(0, 2, (20, 18, 6)).astype(kind)
            volume = nibabel.Nifti1Image(values, affine)
            nibabel.save(volume, tmp_path / part / f"c{number}.nii.gz")
    said = [found.sentence for found in check_collection(listed_collection(str(tmp_path))).findings]
    assert any("its axes are not at right angles" in sentence for sentence in said)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_0_and_255_in_16_bits_are_a_mask(tmp_path, suffix):
    mask = np.zeros((32, 32), np.uint16)
    mask[3:9, 4:20] = 255
    path = tmp_path / f"m{suffix}"
    Image.fromarray(mask).save(path)
    np.testing.assert_array_equal(formats.read_binary(path), mask > 0)
