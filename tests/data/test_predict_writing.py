"""What is computed of an image comes back on the image's own grid, in its own format."""

import itertools
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
from dicom_files import write_series
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from PIL import Image

from llm4seg_probe.data import formats, mask_files
from llm4seg_probe.errors import DataError
from llm4seg_probe.training.predict import images_in, read_new

DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 4, (5, 6, 7)).astype(np.uint8)


def oblique(codes: str, degrees: float) -> np.ndarray:
    """An affine whose axes run towards these codes, turned by some degrees about two axes."""
    turn = np.eye(4)
    for a, b in ((0, 1), (1, 2)):
        step = np.eye(4)
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        step[a, a], step[a, b], step[b, a], step[b, b] = cos, -sin, sin, cos
        turn = step @ turn
    axes = axcodes2ornt(tuple(codes))
    order = ornt_transform(axes, axcodes2ornt(("R", "A", "S")))
    affine = np.zeros((4, 4))
    for own, (towards, sign) in enumerate(order):
        affine[int(towards), own] = sign * (0.7, 1.5, 3.0)[own]
    affine[:, 3] = (-11.0, 23.0, 5.0, 1.0)
    return turn @ affine


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA", "ILP"])
@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_a_mask_of_a_nifti_volume_has_the_axes_and_place_of_its_file(tmp_path, codes, degrees):
    affine = oblique(codes, degrees)
    source = nibabel.Nifti1Image(LABELS.astype(np.int16), affine)
    source.set_qform(affine, 1)
    source.set_sform(affine, 2)
    nibabel.save(source, tmp_path / "image.nii.gz")
    assert "".join(nibabel.aff2axcodes(affine)) == codes
    seen = formats.read_labels(tmp_path / "image.nii.gz")
    target = tmp_path / "out" / "mask.nii.gz"
    mask_files.write_mask(seen, tmp_path / "image.nii.gz", target)
    written = nibabel.load(target)
    assert np.array_equal(np.asanyarray(written.dataobj), LABELS)
    assert np.array_equal(written.affine, nibabel.load(tmp_path / "image.nii.gz").affine)
    assert (int(written.header["qform_code"]), int(written.header["sform_code"])) == (1, 2)
    assert written.get_data_dtype() == np.uint8
    assert np.array_equal(formats.read_labels(target), seen)


def test_the_turn_back_undoes_what_the_display_did_for_every_order_of_axes():
    for order in itertools.permutations("RAS"):
        for flips in itertools.product((False, True), repeat=3):
            opposite = dict(zip("RAS", "LPI", strict=True))
            codes = "".join(
                opposite[c] if flip else c for c, flip in zip(order, flips, strict=True)
            )
            volume = nibabel.Nifti1Image(LABELS, oblique(codes, 5.0))
            assert io_orientation(volume.affine).shape == (3, 2)
            shown = formats.displayed(volume)[0][0]
            assert np.array_equal(mask_files.undisplayed(shown, volume), LABELS), codes


def test_one_slice_and_a_picture_of_nifti_keep_their_shape(tmp_path):
    for name, shape in (("slice", (5, 6, 1)), ("flat", (5, 6)), ("coloured", (5, 6, 7, 3))):
        pixels = DRAW.integers(0, 4, shape).astype(np.uint8)
        image = tmp_path / f"{name}.nii"
        nibabel.save(nibabel.Nifti1Image(pixels, np.diag([-1.0, -1.0, 1.0, 1.0])), image)
        first = formats.read_pixels(image)[0]
        mask_files.write_mask(first, image, tmp_path / f"{name}-mask.nii")
        written = np.asanyarray(nibabel.load(tmp_path / f"{name}-mask.nii").dataobj)
        assert np.array_equal(written, pixels[..., 0] if pixels.ndim == 4 else pixels)


def test_a_scaled_image_gives_a_mask_without_its_scale_and_window(tmp_path):
    source = nibabel.Nifti1Image(LABELS.astype(np.float32) * 0.37 - 1000, np.eye(4))
    source.set_data_dtype(np.int16)
    source.header["cal_max"] = 400
    nibabel.save(source, tmp_path / "image.nii.gz")
    assert nibabel.load(tmp_path / "image.nii.gz").dataobj.slope != 1
    shown = formats.displayed(nibabel.Nifti1Image(LABELS, np.eye(4)))[0][0]
    mask_files.write_mask(shown, tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz")
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asanyarray(written.dataobj), LABELS)
    assert written.dataobj.slope == 1
    assert written.header["cal_max"] == 0


def test_nrrd_comes_back_as_nrrd_with_its_directions(tmp_path):
    header = {
        "space": "left-posterior-superior",
        "space directions": oblique("LPS", 8.0)[:3, :3].T,
        "space origin": np.array([1.0, 2.0, 3.0]),
        "kinds": ["domain"] * 3,
    }
    image = tmp_path / "image.nrrd"
    nrrd.write(str(image), LABELS.astype(np.int16), header)
    seen = formats.read_labels(image)
    mask_files.write_mask(seen, image, tmp_path / "mask.nrrd")
    pixels, written = nrrd.read(str(tmp_path / "mask.nrrd"))
    assert np.array_equal(pixels, LABELS)
    assert pixels.dtype == np.uint8
    assert written["space"] == header["space"]
    assert np.allclose(written["space directions"], header["space directions"])
    assert np.allclose(written["space origin"], header["space origin"])


@pytest.mark.parametrize(
    ("suffix", "shape"), [(".mha", (5, 6, 7)), (".mhd", (5, 6, 7)), (".mha", (5, 6))]
)
def test_metaimage_comes_back_as_metaimage(tmp_path, suffix, shape):
    pixels = DRAW.integers(0, 4, shape).astype(np.uint8)
    source = SimpleITK.GetImageFromArray(pixels)
    axes = len(shape)
    source.SetSpacing([0.5, 1.5, 2.5][:axes])
    source.SetOrigin([4.0, -5.0, 6.0][:axes])
    if axes == 3:
        source.SetDirection([0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    image = tmp_path / f"image{suffix}"
    SimpleITK.WriteImage(source, str(image))
    seen = formats.read_labels(image)
    target = tmp_path / f"mask{mask_files.suffix_for(image)}"
    assert target.suffix == ".mha"
    mask_files.write_mask(seen, image, target)
    written = SimpleITK.ReadImage(str(target))
    assert np.array_equal(SimpleITK.GetArrayFromImage(written), pixels)
    assert written.GetSpacing() == source.GetSpacing()
    assert written.GetOrigin() == source.GetOrigin()
    assert written.GetDirection() == source.GetDirection()


def test_pictures_and_arrays_have_their_own_format(tmp_path):
    labels = DRAW.integers(0, 300, (9, 11))
    Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "photo.jpg")
    assert mask_files.suffix_for(tmp_path / "photo.jpg") == ".png"
    mask_files.write_mask(labels % 200, tmp_path / "photo.jpg", tmp_path / "mask.png")
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), labels % 200)
    mask_files.write_mask(labels, tmp_path / "photo.jpg", tmp_path / "many.png")
    assert np.array_equal(formats.read_labels(tmp_path / "many.png"), labels)
    np.save(tmp_path / "array.npy", np.zeros((1, 9, 11)))
    mask_files.write_mask(labels, tmp_path / "array.npy", tmp_path / "mask.npy")
    assert np.array_equal(np.load(tmp_path / "mask.npy"), labels[None])


def test_probabilities_lie_where_the_image_lies(tmp_path):
    affine = oblique("LPS", 10.0)
    image = tmp_path / "image.nii.gz"
    nibabel.save(nibabel.Nifti1Image(LABELS, affine), image)
    assert mask_files.has_place(image)
    own = DRAW.random((2, *LABELS.shape)).astype(np.float32)
    shown = np.stack([formats.displayed(nibabel.Nifti1Image(p, affine))[0][0] for p in own])
    for count in (1, 2):
        target = tmp_path / f"{count}.nii.gz"
        mask_files.write_probabilities(shown[:count], image, target)
        written = nibabel.load(target)
        assert np.allclose(written.affine, affine, atol=1e-6)
        expected = own[0] if count == 1 else np.moveaxis(own, 0, -1)
        assert np.array_equal(np.asanyarray(written.dataobj), expected)
    photo = Path("photo.png")
    assert not mask_files.has_place(photo)
    mask_files.write_probabilities(shown[:, 0], photo, tmp_path / "p.npy")
    assert np.array_equal(np.load(tmp_path / "p.npy"), shown[:, 0])


def test_a_dicom_series_gives_one_nifti_file_in_its_place(tmp_path):
    folder = tmp_path / "patient 7"
    stored = DRAW.integers(0, 4, (5, 18, 20))
    write_series(folder, stored, RescaleSlope=1, RescaleIntercept=0)
    assert images_in(folder) == {"patient 7": folder}
    raw = read_new(folder, folder, None)
    assert (raw.modality, raw.mask.shape) == ("ct", (0, 5, 18, 20))
    assert mask_files.suffix_for(folder) == ".nii.gz"
    mask_files.write_mask(raw.image[0], folder, tmp_path / "mask.nii.gz")
    written = nibabel.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asanyarray(written.dataobj), stored.transpose(2, 1, 0))
    assert nibabel.aff2axcodes(written.affine) == ("L", "P", "S")
    assert written.affine[2, 3] == -6.0
    assert np.array_equal(formats.read_labels(tmp_path / "mask.nii.gz"), raw.image[0])


def test_images_are_found_with_and_without_a_folder_of_masks(pictures, volume):
    assert list(images_in(pictures)) == ["scan 1", "scan 2", "scan 10", "scan 11"]
    assert images_in(pictures) == images_in(pictures / "images")
    assert list(images_in(volume / "images" / "a.nii.gz")) == ["a"]
    path = volume / "images" / "a.nii.gz"
    with pytest.raises(DataError, match=r"a\.nii\.gz: does not say whether it is ct, mr or photo"):
        read_new(path, volume, None)
    assert read_new(path, volume, "mr").modality == "mr"
    assert read_new(path, volume, None, "ct").modality == "ct"
    (volume / "dataset.json").write_text('{"modality": "ct"}')
    assert read_new(path, volume, None).modality == "ct"
    photo = pictures / "images" / "scan 1.png"
    assert read_new(photo, pictures, None, "ct").modality == "photo"
    assert read_new(photo, pictures, "ct").modality == "ct"
