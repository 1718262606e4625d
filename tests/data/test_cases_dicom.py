"""DICOM of other people: palettes, MONOCHROME1, bits, orientation; each fault by its name."""

import itertools

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import write_series, write_slice
from PIL import Image
from pydicom.pixels import apply_color_lut

from llm4seg_probe.data import (
    dicom_series,
    formats,
    mask_files,
)
from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.errors import DataError

PLAIN = {"RescaleSlope": 1, "RescaleIntercept": 0, "Modality": "DX"}


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_shows_what_apply_color_lut_gives(tmp_path, bits):
    draw = np.random.default_rng(0)
    kind = np.uint8 if bits == 8 else np.uint16
    tables = {}
    for colour in ("Red", "Green", "Blue"):
        table = draw.permutation(256).astype(kind) * (1 if bits == 8 else 257)
        tables[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        tables[f"{colour}PaletteColorLookupTableData"] = table.astype(kind).tobytes()
    indices = draw.integers(0, 256, (16, 16)).astype(np.uint8)
    write_slice(
        tmp_path / "a.dcm", indices, (0, 0, 0), PhotometricInterpretation="PALETTE COLOR",
        BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=indices.tobytes(), **PLAIN, **tables,
    )  # fmt: skip
    part = pydicom.dcmread(tmp_path / "a.dcm")
    right = np.moveaxis(apply_color_lut(part.pixel_array, part), -1, 0) // (1 if bits == 8 else 257)
    np.testing.assert_array_equal(formats.read_image(tmp_path / "a.dcm")[0], right)


@pytest.mark.parametrize("shown", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    "unit", [{"RescaleIntercept": -1024}, {"RescaleIntercept": -1024, "RescaleType": "HU"}]
)
def test_hounsfield_units_do_not_depend_on_how_they_are_displayed(tmp_path, shown, unit):
    write_slice(
        tmp_path / "a.dcm", np.full((4, 4), 1064), (0, 0, 0), PhotometricInterpretation=shown,
        **{**PLAIN, **unit},
    )  # fmt: skip
    assert formats.read_image(tmp_path / "a.dcm")[0].max() == 40


@pytest.mark.parametrize("tags", [PLAIN, {"RescaleSlope": "", "RescaleIntercept": ""}])
@pytest.mark.parametrize(("signed", "stored", "right"), [(0, 100, 3995), (1, -200, 199)])
def test_white_is_turned_up_where_there_is_no_unit(tmp_path, tags, signed, stored, right):
    pixels = np.full((4, 4), stored).astype(np.int16)
    write_slice(
        tmp_path / "a.dcm", pixels, (0, 0, 0), PhotometricInterpretation="MONOCHROME1",
        PixelRepresentation=signed, PixelData=pixels.tobytes(), **tags,
    )  # fmt: skip
    read = formats.read_image(tmp_path / "a.dcm", modality="unknown")[0]
    assert read.max() == right


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_photograph_in_dicom_is_on_the_scale_of_its_bits(tmp_path, bits):
    white = 2**bits - 1
    write_slice(
        tmp_path / "a.dcm", np.full((4, 4), white), (0, 0, 0), BitsStored=bits, HighBit=bits - 1,
        **PLAIN,
    )  # fmt: skip
    assert formats.read_image(tmp_path / "a.dcm", modality="photo")[0].max() == pytest.approx(255)
    assert formats.read_image(tmp_path / "a.dcm", modality="mr")[0].max() == white


AXIAL = [
    [sx, 0, 0, 0, sy, 0] if not swapped else [0, sy, 0, sx, 0, 0]
    for sx, sy, swapped in itertools.product((1, -1), (1, -1), (False, True))
]


@pytest.mark.parametrize("cosines", AXIAL, ids=str)
def test_one_axial_file_is_displayed_as_a_series_and_its_nifti_mask(tmp_path, cosines):
    draw = np.random.default_rng(1)
    stored = draw.integers(0, 4095, (5, 7)).astype(np.uint16)
    tags = {"ImageOrientationPatient": cosines, "PixelSpacing": [2.0, 1.0], "Modality": "CT"}
    write_slice(tmp_path / "images" / "a.dcm", stored, (3, 4, 5), **tags)
    write_slice(tmp_path / "case" / "a.dcm", stored, (3, 4, 5), **tags)
    series, spacing = formats.read_image(tmp_path / "case")
    read, own = formats.read_image(tmp_path / "images" / "a.dcm", modality="ct")
    np.testing.assert_array_equal(read, series)
    assert own == spacing[-2:]
    # The mask of the same place in NIfTI, written from the series' own place.
    volume = dicom_series.read_series(tmp_path / "case")
    canonical = nibabel.as_closest_canonical(
        nibabel.Nifti1Image((np.asanyarray(volume.dataobj) > 2000).astype("u1"), volume.affine)
    )
    (tmp_path / "masks").mkdir()
    nibabel.save(canonical, tmp_path / "masks" / "a.nii.gz")
    opened = listed_collection(str(tmp_path))
    raw = opened.read(opened.samples[0])
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 2000)
    assert not [f for f in check_collection(opened).findings if f.kind == "orientation"]


@pytest.mark.parametrize("cosines", AXIAL, ids=str)
def test_a_picture_drawn_on_one_file_is_turned_with_it(tmp_path, cosines):
    stored = np.random.default_rng(2).integers(0, 4095, (5, 7)).astype(np.uint16)
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0, "ImageOrientationPatient": cosines}
    write_slice(tmp_path / "images" / "a.dcm", stored, (3, 4, 5), **tags)
    (tmp_path / "masks").mkdir()
    Image.fromarray((stored > 2000).astype(np.uint8) * 255).save(tmp_path / "masks" / "a.png")
    opened = listed_collection(str(tmp_path))
    raw = opened.read(opened.samples[0])
    np.testing.assert_array_equal(raw.mask[0], raw.image[0] > 2000)
    # What is predicted comes back on the stored grid.
    mask_files.write_mask(
        raw.mask[0].astype(np.uint8), tmp_path / "images" / "a.dcm", tmp_path / "o.png"
    )
    with Image.open(tmp_path / "o.png") as written:
        np.testing.assert_array_equal(np.asarray(written) > 0, stored > 2000)


def test_a_file_without_a_place_or_of_another_plane_is_as_stored(tmp_path):
    stored = np.arange(12).reshape(3, 4).astype(np.uint16)
    for name, cosines in (("a.dcm", None), ("b.dcm", [0, 1, 0, 0, 0, -1])):
        write_slice(tmp_path / name, stored, (0, 0, 0), ImageOrientationPatient=cosines, **PLAIN)
        read = formats.read_image(tmp_path / name, modality="unknown")[0]
        np.testing.assert_array_equal(read, stored[None])


def test_a_nifti_mask_elsewhere_than_its_dicom_file_is_found(tmp_path):
    write_slice(tmp_path / "images" / "a.dcm", np.eye(8).astype(np.uint16), (0, 0, 0))
    (tmp_path / "masks").mkdir()
    far = np.diag([-1.0, -2, 3, 1])
    far[0, 3] = 40
    nibabel.save(
        nibabel.Nifti1Image(np.eye(8, dtype="u1")[..., None], far), tmp_path / "masks" / "a.nii"
    )
    found = check_collection(listed_collection(str(tmp_path))).findings
    assert any("lies elsewhere in space than its image (up to 40 mm)" in f.what for f in found)


@pytest.mark.parametrize("series", [True, False])
def test_ct_without_rescale_tags_is_told(tmp_path, series):
    tags = {"RescaleSlope": None, "RescaleIntercept": None}
    stored = np.random.default_rng(3).integers(900, 1598, (3, 8, 8)).astype(np.uint16)
    if series:
        write_series(tmp_path / "images" / "a", stored, **tags)
        labels = nibabel.Nifti1Image((stored.T > 1200).astype("u1"), np.eye(4))
    else:
        write_slice(tmp_path / "images" / "a.dcm", stored[0], (0, 0, 0), **tags)
        labels = nibabel.Nifti1Image((stored[0].T > 1200).astype("u1")[..., None], np.eye(4))
    (tmp_path / "masks").mkdir()
    nibabel.save(labels, tmp_path / "masks" / "a.nii.gz")
    found = check_collection(listed_collection(str(tmp_path))).findings
    assert any("CT without RescaleSlope and RescaleIntercept" in f.what for f in found)


def test_several_frames_in_a_folder_are_named_before_their_places(tmp_path):
    write_slice(
        tmp_path / "p0" / "a.dcm", np.zeros((4, 4)), (0, 0, 0), NumberOfFrames=6,
        PixelData=bytes(4 * 4 * 2 * 6), ImageOrientationPatient=None, ImagePositionPatient=None,
    )  # fmt: skip
    with pytest.raises(DataError, match=r"a\.dcm: holds 6 frames; .*Convert it to NIfTI"):
        formats.read_image(tmp_path / "p0")


def test_a_pixel_spacing_of_zero_is_not_known(tmp_path):
    write_slice(tmp_path / "a.dcm", np.zeros((4, 4)), (0, 0, 0), PixelSpacing=[0, 0])
    assert formats.read_image(tmp_path / "a.dcm")[1] is None
    write_series(tmp_path / "p", np.zeros((3, 4, 4), np.uint16), PixelSpacing=[0, 0])
    assert formats.read_image(tmp_path / "p")[1] is None
