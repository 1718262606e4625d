"""Formats beside those of test_data_formats: MetaImage, DICOM, palettes. All files are miniatures
that the tests write themselves."""

import nibabel
import numpy as np
import pytest
import SimpleITK
from dicom_files import write_series, write_slice
from PIL import Image

from llm4seg_probe.data import (
    dicom_series,
    formats,
)
from llm4seg_probe.errors import DataError

RAS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)
"""Every voxel another value: right, anterior, superior."""
SPACING = (1.0, 2.0, 3.0)


def as_itk(pixels: np.ndarray) -> SimpleITK.Image:
    """The RAS volume as ITK has it: the same voxels, axes towards left, back and head."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(pixels.T))
    image.SetSpacing(SPACING)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


@pytest.fixture
def nifti(tmp_path):
    """What a NIfTI file of the volume reads as."""
    nibabel.save(nibabel.Nifti1Image(RAS, np.diag([*SPACING, 1.0])), tmp_path / "reference.nii")
    return formats.read_image(tmp_path / "reference.nii")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
def test_metaimage_and_nifti_of_one_volume_are_read_alike(tmp_path, nifti, name, compressed):
    SimpleITK.WriteImage(as_itk(RAS), str(tmp_path / name), useCompression=compressed)
    pixels, spacing = formats.read_image(tmp_path / name)
    np.testing.assert_array_equal(pixels, nifti[0])
    assert spacing == nifti[1] == (3.0, 2.0, 1.0)


def test_a_turned_metaimage_is_read_alike(tmp_path, nifti):
    turned = SimpleITK.PermuteAxes(SimpleITK.Flip(as_itk(RAS), (True, False, True)), (2, 0, 1))
    SimpleITK.WriteImage(turned, str(tmp_path / "a.mha"))
    pixels, spacing = formats.read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(pixels, nifti[0])
    assert spacing == (3.0, 2.0, 1.0)


def test_a_metaimage_may_have_two_axes_several_components_or_64_bits(tmp_path):
    flat = np.arange(20, dtype=np.int64).reshape(4, 5)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(flat), str(tmp_path / "flat.mha"))
    np.testing.assert_array_equal(formats.read_labels(tmp_path / "flat.mha"), flat)
    two = np.stack([RAS.T, -RAS.T], axis=-1)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(two, isVector=True), str(tmp_path / "two.mha"))
    pixels, _ = formats.read_image(tmp_path / "two.mha")
    assert pixels.shape == (2, 4, 5, 6)
    np.testing.assert_array_equal(pixels[0], -pixels[1])
    joined = SimpleITK.JoinSeries([as_itk(RAS), as_itk(RAS + 7)])
    SimpleITK.WriteImage(joined, str(tmp_path / "joined.mha"))
    pixels, spacing = formats.read_image(tmp_path / "joined.mha")
    np.testing.assert_array_equal(pixels[1], pixels[0] + 7)
    assert spacing == (3.0, 2.0, 1.0)


def test_a_broken_metaimage_is_named_in_one_line(tmp_path, capfd):
    (tmp_path / "a.mha").write_text("not a volume")
    SimpleITK.WriteImage(as_itk(RAS), str(tmp_path / "b.mhd"))
    (tmp_path / "b.raw").unlink()
    for name in ("a.mha", "b.mhd"):
        with pytest.raises(
            DataError, match=rf"{name}: (not readable \(|its ElementDataFile is 'b.raw')"
        ) as raised:
            formats.read_image(tmp_path / name)
        assert "\n" not in str(raised.value)
    assert "WARNING" not in capfd.readouterr().err


def test_the_pixels_beside_a_header_are_part_of_the_image(tmp_path):
    SimpleITK.WriteImage(as_itk(RAS), str(tmp_path / "a.mhd"))
    assert formats.files_of(tmp_path / "a.mhd") == (tmp_path / "a.mhd", tmp_path / "a.raw")
    SimpleITK.WriteImage(as_itk(RAS), str(tmp_path / "a.mha"))
    assert formats.files_of(tmp_path / "a.mha") == (tmp_path / "a.mha",)


def test_a_dicom_series_is_sorted_by_position_and_rescaled(tmp_path):
    stored = np.arange(60, dtype=np.uint16).reshape(4, 5, 3)
    write_series(tmp_path / "case", stored)
    (tmp_path / "case" / "notes.txt").write_text("not a slice")
    pixels, spacing = formats.read_image(tmp_path / "case")
    # Axial DICOM is stored as it is displayed; slices stand from the feet up.
    np.testing.assert_array_equal(pixels, stored[None] * 2.0 - 1024)
    assert spacing == (3.0, 2.0, 1.0)
    assert dicom_series.modality_in(tmp_path / "case") == "ct"
    one, plane = formats.read_image(tmp_path / "case", 2)
    np.testing.assert_array_equal(one, pixels[:, 2])
    assert plane == (2.0, 1.0)


def test_a_sagittal_series_is_displayed_like_an_axial_one(tmp_path):
    volume = np.arange(60, dtype=np.uint16).reshape(4, 5, 3)  # feet to head, front to back, x
    for x in range(3):
        # Rows run from the head down, columns from front to back, at the place of the first pixel.
        sagittal = volume[::-1, :, x]
        write_slice(
            tmp_path / "case" / f"{x}",
            sagittal,
            (1.0 * x, 0.0, 9.0),
            ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
            PixelSpacing=[3.0, 2.0],
        )
    pixels, spacing = formats.read_image(tmp_path / "case")
    np.testing.assert_array_equal(pixels[0], volume * 2.0 - 1024)
    assert spacing == (3.0, 2.0, 1.0)


def test_each_slice_has_its_own_scale(tmp_path):
    for number, slope in enumerate((1, 3)):
        write_slice(
            tmp_path / "case" / f"{number}.dcm",
            np.full((2, 2), 5),
            (0.0, 0.0, float(number)),
            RescaleSlope=slope,
            RescaleIntercept=0,
        )
    assert formats.read_image(tmp_path / "case")[0][0, :, 0, 0].tolist() == [5.0, 15.0]


@pytest.mark.parametrize(("gone", "said"), [([2], "a slice is"), ([2, 3], "2 slices are")])
def test_a_missing_slice_is_named_by_its_neighbours(tmp_path, gone, said):
    write_series(tmp_path / "case", np.zeros((6, 2, 2), np.uint16), named=True)
    for number in gone:
        (tmp_path / "case" / f"I{number}").unlink()
    apart = 3 * (len(gone) + 1)
    with pytest.raises(
        DataError,
        match=rf"case: {said} missing between I1 and I{gone[-1] + 1} \({apart} mm apart, .* 3\)$",
    ):
        formats.read_image(tmp_path / "case")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"SeriesInstanceUID": "1.2.3"}, r"case: I0 and Z are of two series; give each"),
        ({"ImagePositionPatient": [0, 0, -6]}, r"case: (I0 and Z|Z and I0) lie at one place"),
        ({"ImagePositionPatient": [0, 0, 1.4]}, r"case: I2 and Z are 1\.4 mm apart, the others 3;"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, r"Z: lies in another direction than I0"),
        ({"PixelSpacing": [2.0, 1.5]}, r"Z: its PixelSpacing is 2 x 1\.5, that of I0 2 x 1"),
        ({"Rows": 1, "PixelData": bytes(4)}, r"Z: the slice is 1 x 2, that of I0 2 x 2"),
        ({"NumberOfFrames": 2, "PixelData": bytes(16)}, r"Z: holds 2 frames; single-frame"),
        ({"PixelData": bytes(2)}, r"Z: its pixels are not readable"),
        ({"ImagePositionPatient": None}, r"case/Z does not say where it lies"),
    ],
)
def test_what_is_no_single_even_series_is_refused(tmp_path, tags, message):
    write_series(tmp_path / "case", np.zeros((3, 2, 2), np.uint16), named=True)
    write_slice(tmp_path / "case" / "Z", np.zeros((2, 2)), (0.0, 0.0, 3.0), **tags)
    with pytest.raises(DataError, match=message) as raised:
        formats.read_image(tmp_path / "case")
    assert "\n" not in str(raised.value)


def test_a_broken_slice_and_an_empty_folder_are_named(tmp_path):
    write_series(tmp_path / "case", np.zeros((3, 2, 2), np.uint16))
    (tmp_path / "case" / "9.dcm").write_text("not a slice")
    with pytest.raises(DataError, match=r"9\.dcm: is no DICOM file, whatever its name"):
        formats.read_image(tmp_path / "case")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(DataError, match=r"nothing: holds no DICOM file"):
        formats.read_image(tmp_path / "nothing")


def test_one_dicom_file_is_a_picture_as_stored(tmp_path):
    stored = np.array([[0, 100], [200, 4095]])
    write_slice(tmp_path / "a.dcm", stored, (0.0, 0.0, 0.0), Modality="DX")
    pixels, spacing = formats.read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(pixels, stored[None] * 2.0 - 1024)
    assert spacing == (2.0, 1.0)
    assert dicom_series.modality_in(tmp_path / "a.dcm") == ""
    write_slice(
        tmp_path / "b.dcm", stored, (0.0, 0.0, 0.0), PhotometricInterpretation="MONOCHROME1"
    )
    turned, _ = formats.read_image(tmp_path / "b.dcm")
    # MONOCHROME1 is about display: numbers with a unit stay; without one white is turned up.
    np.testing.assert_array_equal(turned, stored[None] * 2.0 - 1024)
    plain = {"RescaleSlope": 1, "RescaleIntercept": 0}
    write_slice(
        tmp_path / "d.dcm", stored, (0, 0, 0), PhotometricInterpretation="MONOCHROME1", **plain
    )
    np.testing.assert_array_equal(
        formats.read_image(tmp_path / "d.dcm", modality="ct")[0], 4095 - stored[None]
    )
    colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    write_slice(
        tmp_path / "c.dcm",
        colours,
        (0.0, 0.0, 0.0),
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        PhotometricInterpretation="RGB",
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=colours.tobytes(),
    )
    np.testing.assert_array_equal(
        formats.read_image(tmp_path / "c.dcm")[0], np.moveaxis(colours, -1, 0)
    )


def test_a_palette_shows_colours_in_an_image_and_labels_in_a_mask(tmp_path):
    labels = np.array([[0, 1], [2, 1]], np.uint8)
    picture = Image.fromarray(labels)
    picture.putpalette([0, 0, 0, 200, 10, 0, 0, 10, 200])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(formats.read_labels(tmp_path / "a.png"), labels)
    image, _ = formats.read_image(tmp_path / "a.png")
    assert image[:, 0, 1].tolist() == [200, 10, 0]
    grey = Image.fromarray(labels)
    grey.putpalette([0, 0, 0, 255, 255, 255, 127, 127, 127])
    grey.save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        formats.read_binary(tmp_path / "b.png"), [[False, True], [False, True]]
    )


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_fine(tmp_path, suffix):
    wide = np.array([[0, 257], [25700, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(
        formats.read_image(tmp_path / f"a{suffix}")[0], [[[0, 1], [100, 255]]]
    )
