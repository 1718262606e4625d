"""Volumes of other people: units, voxel sizes, spaces, element types; each fault by its name.

The right values come from SimpleITK, from a NIfTI twin, or from the numbers written.
"""

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from llm4seg_probe.data import formats
from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.data.places import place_of
from llm4seg_probe.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 99, (5, 6, 4)).astype(np.int16)


def nifti(path: Path, affine: np.ndarray, unit: str = "mm", pixels: np.ndarray = PIXELS) -> Path:
    volume = nibabel.Nifti1Image(pixels, affine)
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, path)
    return path


@pytest.mark.parametrize(("unit", "per_mm"), [("mm", 1), ("micron", 1e3), ("meter", 1e-3)])
@pytest.mark.parametrize("coded", ["sform", "qform", "both"])
def test_nifti_in_microns_or_metres_is_read_in_millimetres(tmp_path, unit, per_mm, coded):
    affine = np.diag([0.4 * per_mm, 0.4 * per_mm, 1.2 * per_mm, 1])
    affine[:3, 3] = np.array([-7, 8, 9]) * per_mm
    volume = nibabel.Nifti1Image(PIXELS, None)
    volume.set_qform(affine, 0 if coded == "sform" else 1)
    volume.set_sform(affine, 0 if coded == "qform" else 2)
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, tmp_path / "a.nii.gz")
    spacing = formats.read_image(tmp_path / "a.nii.gz")[1]
    itk = SimpleITK.ReadImage(str(tmp_path / "a.nii.gz"))
    assert spacing == pytest.approx(itk.GetSpacing()[::-1], rel=1e-5)
    assert spacing == pytest.approx((1.2, 0.4, 0.4), rel=1e-5)
    place = place_of(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(place.affine[:3, 3], (-7, 8, 9), rtol=1e-5)
    assert bool(place.remarks) == (unit != "mm")


def test_an_unknown_unit_is_refused(tmp_path):
    path = nifti(tmp_path / "a.nii", np.eye(4))
    content = bytearray(path.read_bytes())
    content[123] = 5
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"a\.nii: not readable \(its lengths are in the unit 5"):
        formats.read_image(path)


@pytest.mark.parametrize("signs", [(-1, -1, 1), (1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_a_spacing_of_pixdim_holds_whatever_the_order_of_storage(tmp_path, signs):
    sizes = np.array([1.31579, 1.31579, 10])
    volume = nibabel.Nifti1Image(PIXELS, None)
    volume.set_qform(np.diag([*(sizes * signs), 1]), 1)
    volume.set_sform(np.diag([*signs, 1]), 2, update_affine=True)
    volume.header["pixdim"][1:4] = sizes
    nibabel.save(volume, tmp_path / "a.nii.gz")
    assert formats.read_image(tmp_path / "a.nii.gz")[1] == pytest.approx((10, 1.31579, 1.31579))
    (remark,) = place_of(tmp_path / "a.nii.gz").remarks
    assert remark.startswith("its voxel size is 1.316 x 1.316 x 10 in pixdim, but 1 x 1 x 1 in the")


def test_an_sform_and_a_qform_that_point_elsewhere_are_told(tmp_path):
    volume = nibabel.Nifti1Image(PIXELS, None)
    volume.set_qform(np.diag([-1.0, 1, 1, 1]), 1)
    volume.set_sform(np.diag([1.0, 1, 1, 1]), 2)
    nibabel.save(volume, tmp_path / "a.nii")
    place = place_of(tmp_path / "a.nii")
    assert place.axes == "RAS"
    assert any("sform says that the axes run RAS, its qform LAS" in text for text in place.remarks)


def zeroed(path: Path, pixdim: bool, sform: bool) -> Path:
    """The file with its voxel size and, if asked, its sform written as zero."""
    content = bytearray(path.read_bytes())
    if pixdim:
        content[80:92] = bytes(12)
    if sform:
        content[280:328] = bytes(48)
    path.write_bytes(bytes(content))
    return path


def test_a_voxel_size_of_zero_is_no_spacing(tmp_path, capfd):
    path = zeroed(nifti(tmp_path / "z.nii", np.eye(4)), True, False)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # no qform and no sform
    path.write_bytes(bytes(content))
    pixels, spacing = formats.read_image(path)
    assert spacing is None
    assert pixels.shape == (1, 4, 6, 5)
    assert place_of(path).remarks == ("its voxel size is 0 x 0 x 0: its spacing is not known",)
    assert "pixdim" not in capfd.readouterr().err


def test_a_voxel_size_of_zero_beside_a_good_sform_is_that_of_the_sform(tmp_path):
    path = zeroed(nifti(tmp_path / "z.nii", np.diag([0.5, 0.5, 2, 1])), True, False)
    assert formats.read_image(path)[1] == pytest.approx((2, 0.5, 0.5))


def test_an_sform_of_zeros_is_refused(tmp_path):
    path = zeroed(nifti(tmp_path / "z.nii", np.eye(4)), False, True)
    with pytest.raises(DataError, match=r"z\.nii: not readable \(its sform cannot be inverted"):
        formats.read_image(path)


@pytest.mark.parametrize("parts", [("R", "G", "B"), ("R", "G", "B", "A")])
def test_colours_of_a_nifti_file_are_three_channels(tmp_path, parts):
    colours = np.zeros((5, 6, 4), [(part, "u1") for part in parts])
    for number, part in enumerate(parts):
        colours[part] = 10 * number + PIXELS % 7
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii.gz")
    twin = formats.read_image(nifti(tmp_path / "b.nii", np.eye(4), pixels=PIXELS % 7))[0]
    read, spacing = formats.read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read, np.concatenate([twin, twin + 10, twin + 20]))
    assert spacing == (1, 1, 1)


@pytest.mark.parametrize("name", ["z.nii", "z.npy"])
def test_complex_numbers_are_refused(tmp_path, name):
    pixels = np.full((5, 6, 4), 3 + 4j, np.complex64)
    if name == "z.npy":
        np.save(tmp_path / name, pixels)
    else:
        nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), tmp_path / name)
    for read in (formats.read_image, formats.read_labels):
        with pytest.raises(DataError, match=r"it holds complex numbers: store the magnitude"):
            read(tmp_path / name)


@pytest.mark.parametrize(
    ("value", "said"),
    [(np.inf, "are infinite"), (-np.inf, "are infinite"), (np.nan, r"are not a number \(NaN\)"),
     (1e20, "holds the label 1e\\+20"), (0.5, "this one has 0.5")],
)  # fmt: skip
def test_what_is_no_label_is_refused(tmp_path, value, said):
    labels = np.ones((5, 6, 4), np.float32)
    labels[0] = value
    with pytest.raises(DataError, match=rf"m\.nii: .*{said}"):
        formats.read_labels(nifti(tmp_path / "m.nii", np.eye(4), pixels=labels))


def test_infinite_and_nan_are_told_apart_in_images(tmp_path):
    for value, said in ((np.inf, "infinite"), (np.nan, r"not numbers \(NaN\)")):
        pixels = np.ones((5, 6, 4), np.float32)
        pixels[0, 0, 0] = value
        with pytest.raises(DataError, match=rf"holds values that are {said}: 1 of 120"):
            formats.read_image(nifti(tmp_path / "m.nii", np.eye(4), pixels=pixels))


def test_labels_that_a_scale_factor_made_are_whole_and_told(tmp_path):
    for part, pixels in (("images", PIXELS), ("masks", (PIXELS % 4).astype(np.int16))):
        (tmp_path / part).mkdir()
        volume = nibabel.Nifti1Image(pixels, np.eye(4))
        if part == "masks":
            volume.header.set_slope_inter(0.9999999997, 0)
            volume = nibabel.Nifti1Image(pixels * np.float64(0.9999999997), np.eye(4))
        nibabel.save(volume, tmp_path / part / "p.nii")
    (tmp_path / "dataset.json").write_text('{"modality": "mr"}')
    opened = listed_collection(str(tmp_path), classes=("a", "b", "c"))
    found = check_collection(opened).findings
    assert not [f for f in found if f.severity == "error"]
    assert any("not quite whole numbers" in f.what for f in found)


SPACES = {
    "left-posterior-superior": (-1, -1, 1), "LPS": (-1, -1, 1), "lps": (-1, -1, 1),
    "right-anterior-superior": (1, 1, 1), "RAS": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "LAS": (-1, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("space", SPACES)
def test_nrrd_in_any_space_equals_its_nifti_twin(tmp_path, space):
    affine = np.array([[0, -2.0, 0, 5], [0.7, 0, 0, -3], [0, 0, -3.0, 9], [0, 0, 0, 1]])
    signs = np.array(SPACES[space], float)
    nrrd.write(
        str(tmp_path / "a.nrrd"),
        PIXELS,
        {
            "space": space,
            "space directions": (signs[:, None] * affine[:3, :3]).T,
            "space origin": signs * affine[:3, 3],
        },
    )
    twin = formats.read_image(nifti(tmp_path / "a.nii", affine))
    read = formats.read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(read[0], twin[0])
    assert read[1] == pytest.approx(twin[1])
    np.testing.assert_allclose(place_of(tmp_path / "a.nrrd").affine, affine, atol=1e-6)


def test_an_nrrd_space_without_anatomy_is_told_and_an_unknown_one_refused(tmp_path):
    header = {"space": "scanner-xyz", "space directions": np.eye(3), "space origin": np.zeros(3)}
    nrrd.write(str(tmp_path / "a.nrrd"), PIXELS, header)
    place = place_of(tmp_path / "a.nrrd")
    assert not place.stated
    assert "does not say where the patient's left" in place.remarks[0]
    text = (tmp_path / "a.nrrd").read_bytes().replace(b"scanner-xyz", b"upside-downs")
    (tmp_path / "a.nrrd").write_bytes(text)
    with pytest.raises(DataError, match=r"a\.nrrd: not readable \(.*space 'upside-downs'"):
        formats.read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize(
    ("unit", "mm"),
    [
        ("microns", 1e-3),
        ("um", 1e-3),
        ("micrometers", 1e-3),
        ("cm", 10),
        ("mm", 1),
        ("m", 1e3),
        ("nm", 1e-6),
    ],
)
def test_nrrd_lengths_have_the_unit_beside_them(tmp_path, unit, mm):
    header = {
        "space": "LPS",
        "space directions": np.diag([3.8, 3.8, 7.0]),
        "space units": [unit] * 3,
    }
    nrrd.write(str(tmp_path / "a.nrrd"), PIXELS, {**header, "space origin": [1, 1, 1]})
    assert formats.read_image(tmp_path / "a.nrrd")[1] == pytest.approx((7 * mm, 3.8 * mm, 3.8 * mm))
    plain = {"spacings": [3.8, 3.8, 7.0], "units": [unit] * 3}
    nrrd.write(str(tmp_path / "b.nrrd"), PIXELS, plain)
    assert formats.read_image(tmp_path / "b.nrrd")[1] == pytest.approx((7 * mm, 3.8 * mm, 3.8 * mm))


def test_an_nrrd_unit_that_nobody_knows_is_refused(tmp_path):
    header = {"spacings": [1.0, 1, 1], "units": ["cubit"] * 3}
    nrrd.write(str(tmp_path / "a.nrrd"), PIXELS, header)
    with pytest.raises(DataError, match="its lengths are in 'cubit', which is no known unit"):
        formats.read_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_two_dimensions_keep_their_spacing(tmp_path, suffix):
    image = SimpleITK.GetImageFromArray(np.arange(480).reshape(20, 24).astype(np.int16))
    image.SetSpacing((0.3, 0.5))
    SimpleITK.WriteImage(image, str(tmp_path / f"a{suffix}"))
    assert formats.read_image(tmp_path / f"a{suffix}")[1] == pytest.approx((0.5, 0.3))


def test_an_nrrd_without_spacing_has_none(tmp_path):
    nrrd.write(str(tmp_path / "a.nrrd"), PIXELS, {})
    assert formats.read_image(tmp_path / "a.nrrd")[1] is None
    assert "it states no spacing" in place_of(tmp_path / "a.nrrd").remarks


@pytest.mark.parametrize("axes", [2, 3])
def test_an_axis_of_colours_in_nrrd_is_no_axis_of_space(tmp_path, axes):
    colours = np.random.default_rng(1).integers(0, 99, (3, 5, 6, 4)[: axes + 1]).astype(np.uint8)
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(colours.T), isVector=True)
    image.SetSpacing((0.3, 0.5, 2.0)[:axes])
    SimpleITK.WriteImage(image, str(tmp_path / "a.nrrd"))
    pixels, spacing = formats.read_image(tmp_path / "a.nrrd")
    stored = colours.transpose(0, *range(axes, 0, -1))
    np.testing.assert_array_equal(pixels, stored)
    assert spacing == pytest.approx((2.0, 0.5, 0.3)[3 - axes :])


def test_a_metaimage_in_another_unit_or_without_spacing(tmp_path):
    for unit, factor in (("um", 1e-3), ("cm", 10), ("mm", 1)):
        (tmp_path / "a.mhd").write_text(header(f"DistanceUnits = {unit}\nElementSpacing = 2 2 3\n"))
        (tmp_path / "a.raw").write_bytes(PIXELS.tobytes(order="F"))
        assert formats.read_image(tmp_path / "a.mhd")[1] == pytest.approx(
            (3 * factor, 2 * factor, 2 * factor)
        )
    (tmp_path / "b.mhd").write_text(header(""))
    assert formats.read_image(tmp_path / "b.mhd")[1] is None


def header(lines: str, file: str = "a.raw") -> str:
    return (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = False\nOffset = 0 0 0\n{lines}DimSize = 5 6 4\n"
        f"ElementType = MET_SHORT\nElementDataFile = {file}\n"
    )


def slices(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for z in range(4):
        (folder / name.replace("%02d", f"{z:02d}")).write_bytes(PIXELS[..., z].tobytes(order="F"))


@pytest.mark.parametrize(
    "file",
    ["../raw/s.raw", "LIST\n../raw/s00.raw\n../raw/s01.raw\n../raw/s02.raw\n../raw/s03.raw",
     "../raw/s%02d.raw 0 3 1"],
)  # fmt: skip
def test_pixels_that_lie_in_another_folder_are_part_of_the_fingerprint(tmp_path, file):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    slices(tmp_path / "raw", "s%02d.raw")
    (tmp_path / "raw" / "s.raw").write_bytes(PIXELS.tobytes(order="F"))
    spacing = "ElementSpacing = 1 1 1\n"
    (tmp_path / "images" / "p.mhd").write_text(header(spacing, file))
    np.save(tmp_path / "masks" / "p.npy", (PIXELS.T > 50).astype(np.uint8))
    (tmp_path / "dataset.json").write_text('{"modality": "mr"}')
    before = listed_collection(str(tmp_path)).fingerprint
    files = formats.files_of(tmp_path / "images" / "p.mhd")
    assert len(files) > 1
    files[-1].write_bytes(bytes(files[-1].stat().st_size))
    assert listed_collection(str(tmp_path)).fingerprint != before


def test_a_detached_nrrd_is_fingerprinted_and_read_anew(tmp_path):
    path = tmp_path / "a.nrrd"
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.raw").write_bytes(PIXELS.tobytes(order="F"))
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 6 4\nspacings: 1 1 1\nendian: little\n"
        "encoding: raw\ndata file: raw/a.raw\n"
    )
    assert formats.files_of(path)[1] == tmp_path / "raw" / "a.raw"
    mean = formats.read_image(path)[0].mean()
    assert mean == pytest.approx(PIXELS.mean())
    (tmp_path / "raw" / "a.raw").write_bytes((PIXELS + 500).tobytes(order="F"))
    assert formats.read_image(path)[0].mean() == pytest.approx(mean + 500)


def test_colours_in_numpy_are_named(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"40 x 50 x 3 looks like colours: NumPy files are \(H, W\)"
    ):
        formats.read_image(tmp_path / "a.npy")
