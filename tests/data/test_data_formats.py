from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data import formats
from llm4seg_probe.errors import DataError

RAS = np.arange(120, dtype=np.int16).reshape(6, 5, 4)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def test_a_volume_is_shown_feet_first_front_up_and_right_on_the_left(tmp_path):
    nibabel.save(nibabel.Nifti1Image(RAS, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.nii.gz")
    pixels, spacing = formats.read_image(tmp_path / "a.nii.gz")
    assert pixels.shape == (1, 4, 5, 6)
    assert spacing == (3.0, 2.0, 1.0)
    for x, y, z in [(0, 0, 0), (5, 0, 1), (2, 4, 3)]:
        assert pixels[0, z, 4 - y, 5 - x] == RAS[x, y, z]


@pytest.mark.parametrize("codes", ["LPS", "RAS", "PIR", "SAL"])
def test_the_order_of_axes_in_the_file_does_not_matter(tmp_path, codes):
    original = nibabel.Nifti1Image(RAS, np.diag([1.0, 2.0, 3.0, 1.0]))
    change = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(original.as_reoriented(change), tmp_path / "a.nii")
    nibabel.save(original, tmp_path / "b.nii")
    turned, spacing = formats.read_image(tmp_path / "a.nii")
    straight, _ = formats.read_image(tmp_path / "b.nii")
    np.testing.assert_array_equal(turned, straight)
    assert spacing == (3.0, 2.0, 1.0)


def test_nrrd_and_nifti_of_one_volume_are_read_alike(tmp_path):
    header = {
        "space": "left-posterior-superior",
        "space directions": np.diag([-1.0, -2.0, 3.0]),
        "space origin": np.zeros(3),
    }
    nrrd.write(str(tmp_path / "a.nrrd"), RAS, header)
    nibabel.save(nibabel.Nifti1Image(RAS, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.nii")
    from_nrrd, spacing = formats.read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(from_nrrd, formats.read_image(tmp_path / "a.nii")[0])
    assert spacing == (3.0, 2.0, 1.0)


def test_a_slice_of_a_volume_is_that_of_the_whole(tmp_path):
    nibabel.save(nibabel.Nifti1Image(RAS, np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "a.nii")
    whole, _ = formats.read_image(tmp_path / "a.nii")
    one, spacing = formats.read_image(tmp_path / "a.nii", 2)
    np.testing.assert_array_equal(one, whole[:, 2])
    assert spacing == (2.0, 1.0)
    with pytest.raises(DataError, match=r"a\.nii: has no slice 4; it has 4, counted from 0"):
        formats.read_image(tmp_path / "a.nii", 4)


def test_a_16_bit_picture_comes_on_the_scale_of_an_8_bit_one(tmp_path):
    path = save(tmp_path / "a.png", np.array([[0, 257], [25700, 65535]], np.uint16))
    np.testing.assert_allclose(formats.read_image(path)[0], [[[0, 1], [100, 255]]])


def test_a_colour_picture_has_three_channels_and_alpha_is_left_out(tmp_path):
    colours = np.random.default_rng(0).integers(0, 255, (3, 5, 4), dtype=np.uint8)
    image, spacing = formats.read_image(save(tmp_path / "a.png", colours))
    np.testing.assert_array_equal(image, np.moveaxis(colours[..., :3], -1, 0))
    assert spacing is None


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ([0, 1], "a.png", [False, True]),
        ([0, 255], "a.png", [False, True]),
        ([0, 0], "a.png", [False, False]),
        ([7, 248], "a.bmp", [False, True]),
        ([7, 248], "a.jpg", [False, True]),
        ([0, 7], "a.jpg", [False, False]),
    ],
)
def test_the_values_of_a_binary_mask(tmp_path, values, name, expected):
    pixels = np.repeat(np.array(values, np.uint8), 8)[None].repeat(16, axis=0)
    mask = formats.read_binary(save(tmp_path / name, pixels))
    assert [bool(mask[8, 2]), bool(mask[8, 12])] == expected


def test_a_16_bit_mask_and_a_1_bit_mask(tmp_path):
    wide = save(tmp_path / "a.png", np.array([[0, 65535]], np.uint16))
    narrow = save(tmp_path / "b.png", np.array([[False, True]]))
    for path in (wide, narrow):
        np.testing.assert_array_equal(formats.read_binary(path), [[False, True]])


def test_a_grey_mask_saved_in_colour_is_read(tmp_path):
    grey = np.repeat(np.array([[0, 255]], np.uint8)[..., None], 3, axis=-1)
    np.testing.assert_array_equal(
        formats.read_binary(save(tmp_path / "a.png", grey)), [[False, True]]
    )


def test_masks_that_are_no_masks_are_refused(tmp_path):
    overlay = np.zeros((2, 2, 3), np.uint8)
    overlay[0, 0] = (200, 10, 0)
    with pytest.raises(DataError, match=r"a\.png: a mask has one channel; this one has 3 that dif"):
        formats.read_binary(save(tmp_path / "a.png", overlay))
    with pytest.raises(DataError, match=r"b\.png: a mask of one class holds 0 and 1, .* up to 4\."):
        formats.read_binary(save(tmp_path / "b.png", np.array([[0, 4]], np.uint8)))
    np.save(tmp_path / "c.npy", np.array([[0.0, 0.5]]))
    with pytest.raises(DataError, match=r"c\.npy: a mask holds whole numbers, this one has 0\.5"):
        formats.read_binary(tmp_path / "c.npy")


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "text.nii.gz").write_text("not a volume")
    (tmp_path / "text.nrrd").write_text("not a volume")
    np.save(tmp_path / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    save(tmp_path / "whole.png", np.zeros((50, 50), np.uint8))
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    expected = {
        "empty.png": "the file is empty",
        "text.png": "not readable",
        "text.nii.gz": "not readable",
        "text.nrrd": "not readable",
        "pickled.npy": "not readable .*of type object",
        "cut.png": "not readable",
        "absent.png": "no such file",
    }
    for name, reason in expected.items():
        with pytest.raises(DataError, match=rf"{name}: {reason}") as raised:
            formats.read_image(tmp_path / name)
        assert "\n" not in str(raised.value)


def test_pixels_that_are_not_numbers_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0.0, np.nan]]))
    with pytest.raises(DataError, match=r"a\.npy: holds values that are not numbers"):
        formats.read_image(tmp_path / "a.npy")


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    page = Image.fromarray(np.zeros((4, 4), np.uint8))
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page])
    with pytest.raises(DataError, match=r"a\.tif: not readable \(it holds 2 pictures, one is"):
        formats.read_image(tmp_path / "a.tif")


def test_a_changed_volume_is_read_anew(tmp_path):
    path = tmp_path / "a.npy"
    for value in (1, 2):
        np.save(path, np.full((2, 2), value))
        assert formats.read_image(path)[0].max() == value
