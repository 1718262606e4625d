"""Masks and channels beside an image of which one states no place: both as they are stored."""

import json

import nibabel
import nrrd
import numpy as np
import pytest
from dicom_files import write_slice
from PIL import Image

from llm4seg_probe.data import formats, turning
from llm4seg_probe.data.checks import check_collection, tell_of_first
from llm4seg_probe.data.datasets import listed_collection

SHAPE = (9, 7, 5)
LESION = np.zeros(SHAPE, np.uint8)
LESION[1:4, 1:3, 1:2] = 1  # in one corner: every turn moves it
SCAN = np.where(LESION, 600, 100) + np.arange(LESION.size).reshape(SHAPE) % 50
SCAN = SCAN.astype(np.int16)
RAS, LPS = np.diag([1, 1, 2, 1.0]), np.diag([-1, -1, 2, 1.0])
PSR = np.array([[0, 0, 2, 0], [-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])


def nifti(path, pixels, affine):
    volume = nibabel.Nifti1Image(pixels, affine)
    if affine is None:
        volume.header.set_zooms((1, 1, 2))
        volume.header["qform_code"] = volume.header["sform_code"] = 0
    nibabel.save(volume, path.with_name(f"{path.name}.nii.gz"))


def spacings_only(path, pixels, _):
    header = {"spacings": [1.0, 1.0, 2.0], "kinds": ["domain"] * 3}
    nrrd.write(str(path.with_name(f"{path.name}.nrrd")), pixels, header)


def without_matrix(path, pixels, _):
    kind = {"uint8": "MET_UCHAR", "int16": "MET_SHORT"}[pixels.dtype.name]
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {pixels.shape[0]} "
        f"{pixels.shape[1]} {pixels.shape[2]}\nElementSpacing = 1 1 2\nElementType = {kind}\n"
        "ElementDataFile = LOCAL\n"
    )
    content = header.encode() + pixels.tobytes(order="F")
    path.with_name(f"{path.name}.mha").write_bytes(content)


def numpy_file(path, pixels, _):
    # As SimpleITK hands out a volume: the last axis first.
    np.save(path.with_name(f"{path.name}.npy"), pixels.transpose(2, 1, 0))


def found_in(folder, image, mask):
    for part, (write, affine), pixels in (("images", image, SCAN), ("masks", mask, LESION)):
        (folder / part).mkdir()
        write(folder / part / "a", pixels, affine)
    opened = listed_collection(str(folder))
    said = [f for f in check_collection(opened).findings if f.kind == "orientation"]
    return opened.read(opened.samples[0]), said


PLACED = {"RAS": (nifti, RAS), "LPS": (nifti, LPS), "PSR": (nifti, PSR)}
UNPLACED = {
    "NIfTI": (nifti, None),
    "NRRD": (spacings_only, None),
    "MetaImage": (without_matrix, None),
    "NumPy": (numpy_file, None),
}


@pytest.mark.parametrize("placed", PLACED)
@pytest.mark.parametrize("unplaced", UNPLACED)
@pytest.mark.parametrize("image_is_placed", [True, False])
def test_one_of_two_without_a_place_is_turned_as_the_other(
    tmp_path, placed, unplaced, image_is_placed
):
    pair = (PLACED[placed], UNPLACED[unplaced])
    raw, said = found_in(tmp_path, *(pair if image_is_placed else pair[::-1]))
    assert raw.mask.sum() == 6
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 400)
    (guess,) = said
    assert (guess.severity, "states none" in guess.what) == ("warning", True)
    assert "A guess: they are matched by the order in which their pixels are stored" in guess.advice
    # The image itself is shown as without a mask.
    path = next((tmp_path / "images").iterdir())
    np.testing.assert_array_equal(raw.image, formats.read_image(path)[0])


@pytest.mark.parametrize("image", UNPLACED)
@pytest.mark.parametrize("mask", UNPLACED)
def test_two_without_a_place_lie_as_they_are_stored(tmp_path, image, mask):
    raw, said = found_in(tmp_path, UNPLACED[image], UNPLACED[mask])
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 400)
    assert said == []


def test_two_with_places_are_matched_by_them(tmp_path):
    def in_the_other_order(path, pixels, _):
        flipped = np.array([[-1, 0, 0, 8], [0, -1, 0, 6], [0, 0, 2, 0], [0, 0, 0, 1.0]])
        nifti(path, np.ascontiguousarray(pixels[::-1, ::-1]), flipped)

    raw, said = found_in(tmp_path, (nifti, RAS), (in_the_other_order, None))
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 400)
    assert said == []


@pytest.mark.parametrize("affine", [RAS, LPS, None], ids=["RAS", "LPS", "none"])
def test_a_picture_on_one_slice_has_its_columns_along_the_first_axis(tmp_path, affine):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    nifti(tmp_path / "images" / "a", SCAN[:, :, 1:2], affine)
    Image.fromarray(LESION[:, :, 1].T * 255).save(tmp_path / "masks" / "a.png")
    opened = listed_collection(str(tmp_path))
    raw = opened.read(opened.samples[0])
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 400)
    labels = formats.read_labels(tmp_path / "masks" / "a.png", None, opened.samples[0].image_file)
    np.testing.assert_array_equal(labels > 0, raw.mask[0])


def test_a_channel_without_a_place_and_one_slice_of_a_volume(tmp_path):
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).mkdir()
    nifti(tmp_path / "imagesTr" / "a_0000", SCAN, RAS)
    nifti(tmp_path / "imagesTr" / "a_0001", SCAN + np.int16(1), None)
    nifti(tmp_path / "labelsTr" / "a", LESION, None)
    described = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "b": 1}}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    opened = listed_collection(str(tmp_path))
    raw = opened.read(opened.samples[0])
    np.testing.assert_array_equal(raw.image[1], raw.image[0] + 1)
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 400)
    said = [f.what for f in check_collection(opened).findings if f.kind == "orientation"]
    assert said == [
        "the image states its place in space, the channel states none",
        "the image states its place in space, the mask states none",
    ]
    (tmp_path / "set.csv").write_text(
        "image,mask,slice\nimagesTr/a_0000.nii.gz,labelsTr/a.nii.gz,1\n"
    )
    opened = listed_collection(str(tmp_path / "set.csv"))
    one = opened.read(opened.samples[0])
    np.testing.assert_array_equal(one.mask[0], one.image[0] > 400)
    np.testing.assert_array_equal(one.image[0], raw.image[0][1])


@pytest.mark.parametrize("cosines", [[1, 0, 0, 0, 1, 0], [0, -1, 0, -1, 0, 0]])
def test_a_nifti_mask_without_a_place_on_one_dicom_file(tmp_path, cosines):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    stored = SCAN[:, :, 1].T  # rows of DICOM's pixels run along the first axis of NIfTI's
    write_slice(tmp_path / "images" / "a.dcm", stored, (0, 0, 0), ImageOrientationPatient=cosines)
    nifti(tmp_path / "masks" / "a", LESION[:, :, 1:2], None)
    opened = listed_collection(str(tmp_path))
    raw = opened.read(opened.samples[0])
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 2 * 400 - 1024)


def test_sizes_that_do_not_fit_as_stored_say_so(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    nifti(tmp_path / "images" / "a", SCAN, RAS)
    nifti(tmp_path / "masks" / "a", np.ascontiguousarray(LESION.transpose(1, 0, 2)), None)
    checked = check_collection(listed_collection(str(tmp_path)))
    (size,) = (f for f in checked.findings if f.kind == "size")
    assert "the mask is 5 x 9 x 7, its image a.nii.gz is 5 x 7 x 9, in the order in which both" in (
        size.what
    )


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "SAL"])
def test_turning_back_gives_what_was_turned(axes):
    stored = np.arange(2 * 3 * 4 * 2).reshape(2, 3, 4, 2)
    shown = turning.displayed(stored, axes)
    np.testing.assert_array_equal(turning.as_stored(shown, axes), stored)
    lengths = turning.lengths_displayed((0.2, 0.3, 0.4), axes)
    assert [round(mm * 10) for mm in lengths] == list(shown.shape[1:])
    assert turning.lengths_as_stored(lengths, axes) == (0.2, 0.3, 0.4)


def test_voxels_of_another_size_are_told_without_places_too(tmp_path):
    def thick(path, pixels, _):
        header = {"spacings": [1.0, 1.0, 5.0], "kinds": ["domain"] * 3}
        nrrd.write(str(path.with_name(f"{path.name}.nrrd")), pixels, header)

    _, (apart,) = found_in(tmp_path, (nifti, None), (thick, None))
    assert "lies elsewhere in space than its image (up to 12 mm)" in apart.what  # 4 x (5 - 2)


def test_training_tells_the_guess_too(tmp_path, capsys):
    for part, affine, pixels in (("images", RAS, SCAN), ("masks", None, LESION)):
        (tmp_path / part).mkdir()
        nifti(tmp_path / part / "a", pixels, affine)
    tell_of_first(listed_collection(str(tmp_path)))
    told = capsys.readouterr().err
    assert "orientation" in told
    assert "seen at the first image; llm4seg-probe data check reads all" in told
