"""Pictures of other people: what their files declare is applied, or refused; each fault by name.

The right values are computed here without the reader: Pillow's own ``exif_transpose``, or the
numbers that went into the file.
"""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data import formats
from llm4seg_probe.data.checks import check_collection
from llm4seg_probe.data.datasets import listed_collection
from llm4seg_probe.errors import DataError

SCENE = np.full((48, 64), 60, np.uint8)
"""Wider than high, and not the same in any other orientation."""
SCENE[5:20, 40:60] = 200


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def tiff(
    path: Path, pixels: np.ndarray, order: str = "II", bits: int = 16, sample: int = 1,
    photometric: int = 1, extra: tuple[tuple[int, int, int], ...] = (),
) -> Path:  # fmt: skip
    """A grey TIFF written byte by byte, so that the file says exactly what is asked for."""
    ends = {"II": "<", "MM": ">"}[order]
    height, width = pixels.shape
    kind = {1: "u", 2: "i", 3: "f"}[sample]
    content = pixels.astype(f"{ends}{kind}{bits // 8}").tobytes() if bits >= 8 else pixels.tobytes()
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 0), (277, 3, 1), (278, 3, height), (279, 4, len(content)), (339, 3, sample),
        *extra,
    ]  # fmt: skip
    tags.sort()
    start = 8 + 2 + 12 * len(tags) + 4
    tags = [(tag, kind_, start if tag == 273 else value) for tag, kind_, value in tags]
    entries = b"".join(
        struct.pack(ends + "HHI", tag, kind_, 1)
        + (struct.pack(ends + "HH", v, 0) if kind_ == 3 else struct.pack(ends + "I", v))
        for tag, kind_, v in tags
    )
    head = order.encode() + struct.pack(ends + "HIH", 42, 8, len(tags))
    path.write_bytes(head + entries + struct.pack(ends + "I", 0) + content)
    return path


SHOWN = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.rot90(stored, 2).T,
    8: np.rot90,
}
"""What each orientation of EXIF makes of the pixels that are stored."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_an_image_stands_as_its_exif_orientation_says(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    hard = Image.fromarray((SCENE > 100).astype(np.uint8) * 255)
    hard.save(path, exif=exif(orientation))
    # Not by Pillow's exif_transpose: it turns grey TIFF that it has cut at the wrong place.
    shown = SHOWN[orientation]((SCENE > 100).astype(np.uint8) * 255)
    if suffix == ".jpg":
        with Image.open(path) as picture:
            shown = SHOWN[orientation](np.asarray(picture))
    np.testing.assert_array_equal(formats.read_image(path)[0][0], shown)
    np.testing.assert_array_equal(formats.read_binary(path), shown > 127)


def set_of(folder: Path, image: Image.Image, mask: Image.Image, **options: object) -> Path:
    for number in range(3):
        for part, picture, suffix in (("images", image, ".jpg"), ("masks", mask, ".png")):
            (folder / part).mkdir(parents=True, exist_ok=True)
            kept = options if part == "images" else {}
            picture.save(folder / part / f"c{number}{suffix}", **kept)
    return folder


def test_a_mask_drawn_on_what_viewers_show_fits_its_turned_image(tmp_path):
    stored = Image.fromarray(np.rot90(SCENE))
    mask = Image.fromarray((SCENE > 100).astype(np.uint8) * 255)
    folder = set_of(tmp_path, stored, mask, exif=exif(6), quality=95)
    opened = listed_collection(str(folder))
    raw = opened.read(opened.samples[0])
    assert raw.image[0][raw.mask[0]].mean() == pytest.approx(200, abs=1)
    said = [f.sentence for f in check_collection(opened).findings if f.kind == "orientation"]
    assert said[0].startswith("note: orientation: the picture is turned as its orientation (EXIF 6")


def test_a_mask_drawn_on_the_stored_grid_is_refused_and_exif_named(tmp_path):
    stored = np.rot90(SCENE)
    mask = Image.fromarray((stored > 100).astype(np.uint8) * 255)
    folder = set_of(tmp_path, Image.fromarray(stored), mask, exif=exif(6))
    opened = listed_collection(str(folder))
    with pytest.raises(DataError, match=r"64 x 48, its image c0\.jpg is 48 x 64 once it is turned"):
        opened.read(opened.samples[0])


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize(
    ("bits", "sample", "value", "right"),
    [
        (8, 1, 100, 100), (16, 1, 100 * 257, 100), (16, 2, 688, 688), (16, 2, -1000, -1000),
        (32, 2, 100, 100), (32, 2, 70000, 70000), (8, 2, -5, -5),
    ],
)  # fmt: skip
def test_the_scale_follows_from_bits_and_sign_in_either_byte_order(
    tmp_path, order, bits, sample, value, right
):
    path = tiff(tmp_path / "a.tif", np.full((8, 8), value), order, bits, sample)
    np.testing.assert_allclose(formats.read_image(path)[0], np.full((1, 8, 8), right))


def test_what_else_is_in_the_image_does_not_change_its_scale(tmp_path):
    pixels = np.full((8, 8), 688)
    alone = formats.read_image(tiff(tmp_path / "a.tif", pixels, sample=2))[0]
    pixels[0, 0] = -1000
    assert formats.read_image(tiff(tmp_path / "b.tif", pixels, sample=2))[0][0, 4, 4] == 688
    assert alone[0, 4, 4] == 688


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_16_bits_of_ct_and_mr_are_not_divided(tmp_path, modality):
    path = tiff(tmp_path / "a.tif", np.full((8, 8), 1064))
    assert formats.read_image(path, modality=modality)[0].max() == 1064


def test_decimal_pictures_state_no_scale_and_are_refused_as_photographs(tmp_path):
    path = tiff(tmp_path / "a.tif", np.full((8, 8), 0.4), bits=32, sample=3)
    with pytest.raises(DataError, match=r"a\.tif: not readable \(it holds decimal numbers, whose"):
        formats.read_image(path)
    assert formats.read_image(path, modality="mr")[0].max() == pytest.approx(0.4)


def test_white_may_be_zero(tmp_path):
    eight = tiff(tmp_path / "a.tif", np.full((8, 8), 55), bits=8, photometric=0)
    sixteen = tiff(tmp_path / "b.tif", np.full((8, 8), 55 * 257), photometric=0)
    assert formats.read_image(eight)[0].max() == 200
    assert formats.read_image(sixteen)[0].max() == pytest.approx(200)


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_are_the_numbers_stored(tmp_path, bits):
    stored = np.arange(16).reshape(4, 4) % 2**bits
    per = 8 // bits
    rows = stored.reshape(4, -1, per)
    shifts = np.arange(per - 1, -1, -1) * bits
    content = (rows << shifts).sum(-1).astype(np.uint8)
    path = tmp_path / "a.tif"
    tags = [(256, 3, 4), (257, 3, 4), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 0),
            (277, 3, 1), (278, 3, 4), (279, 4, content.size)]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHI", t, k, 1)
        + (struct.pack("<HH", v, 0) if k == 3 else struct.pack("<I", start if t == 273 else v))
        for t, k, v in tags
    )
    head = b"II" + struct.pack("<HIH", 42, 8, len(tags))
    path.write_bytes(head + entries + struct.pack("<I", 0) + content.tobytes())
    np.testing.assert_array_equal(formats.read_labels(path), stored)
    assert formats.read_image(path)[0].max() == 255


def test_a_1_bit_mask_holds_0_and_1(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(formats.read_labels(tmp_path / "a.png"), np.eye(8))


LABELLED = np.zeros((32, 32), np.uint8)
LABELLED[7:21, 7:21], LABELLED[8:20, 8:20] = 255, 1
TRIMAP = np.zeros((32, 32), np.uint8)
TRIMAP[4:28, 4:28], TRIMAP[8:24, 8:24] = 128, 255
VOC = np.zeros((32, 32), np.uint8)
VOC[7:21, 7:21], VOC[8:20, 8:20] = 255, 15
CODED = np.repeat(np.array([0, 85, 170, 255], np.uint8), 8)[None].repeat(32, axis=0)


def numbered(count: int, size: int) -> np.ndarray:
    """Objects numbered from 1, each of size x size pixels with a gap."""
    side = int(np.ceil(np.sqrt(count)))
    found = np.zeros((side * (size + 2),) * 2, np.uint8)
    for k in range(count):
        y, x = divmod(k, side)
        y, x = y * (size + 2) + 1, x * (size + 2) + 1
        found[y : y + size, x : x + size] = k + 1
    return found


@pytest.mark.parametrize(
    "labels",
    [LABELLED, TRIMAP, VOC, CODED, numbered(200, 5), numbered(200, 2), numbered(254, 3)],
    ids=["rim 255", "trimap", "voc 15", "coded grey", "200 of 5", "200 of 2", "254 of 3"],
)
def test_labels_are_not_taken_for_soft_edges(tmp_path, labels):
    Image.fromarray(labels).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: a mask of one class holds 0 and 1, or 0 and 255"):
        formats.read_binary(tmp_path / "a.png")


@pytest.mark.parametrize("values", [[0, 1, 255], [0, 15, 255]])
def test_255_of_a_palette_is_not_foreground_beside_a_class(tmp_path, values):
    picture = Image.fromarray(np.repeat(np.array(values, np.uint8), 6)[None].repeat(9, axis=0))
    picture.putpalette([k * 7 % 256 for k in range(768)])
    picture.save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"has a palette and the indices 0, "):
        formats.read_binary(tmp_path / "a.png")


def disc(softness: float, radius: float = 12, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    away = (np.hypot(y - size / 2, x - size / 2) - radius) / softness
    level = 1 / (1 + np.exp(np.clip(away, -50, 50)))
    return np.asarray(np.rint(255 * level), np.uint8)


def resized(factor: float) -> np.ndarray:
    hard = Image.fromarray((disc(0.01) > 127).astype(np.uint8) * 255)
    size = round(64 * factor)
    return np.asarray(hard.resize((size, size), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(
    "soft",
    [disc(0.3), disc(1.0), disc(1.5, 20), resized(1.7), resized(2), resized(0.6)],
    ids=["0.3", "1", "1.5", "larger", "twice", "smaller"],
)
def test_soft_edges_are_cut_at_half_the_scale(tmp_path, soft):
    Image.fromarray(soft).save(tmp_path / "a.png")
    np.testing.assert_array_equal(formats.read_binary(tmp_path / "a.png"), soft > 127)


@pytest.mark.parametrize("quality", [60, 90])
def test_noise_of_jpeg_is_cut_whatever_the_suffix(tmp_path, quality):
    hard = disc(0.01)
    Image.fromarray(hard).save(tmp_path / "a.jpg", quality=quality)
    with Image.open(tmp_path / "a.jpg") as stored:
        noisy = np.asarray(stored)
    Image.fromarray(noisy).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes((tmp_path / "a.jpg").read_bytes())
    for name in ("a.jpg", "b.png", "c.png"):
        np.testing.assert_array_equal(formats.read_binary(tmp_path / name), noisy > 127)


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "jpeg in disguise.png", "a.tif"])
def test_labels_in_jpeg_are_refused_where_classes_are_read(tmp_path, name):
    path = tmp_path / name
    labels = numbered(2, 12)
    if name == "a.tif":
        Image.fromarray(labels).save(path, compression="jpeg")
    else:
        Image.fromarray(labels).save(tmp_path / "x.jpg", quality=90)
        (tmp_path / "x.jpg").rename(path)
    with pytest.raises(DataError, match=r"its labels were stored with loss \(JPEG\)"):
        formats.read_labels(path)
    (tmp_path / "s" / "images").mkdir(parents=True)
    (tmp_path / "s" / "masks").mkdir()
    Image.fromarray(labels).save(tmp_path / "s" / "images" / "c.png")
    path.rename(tmp_path / "s" / "masks" / f"c{path.suffix}")
    opened = listed_collection(str(tmp_path / "s"), classes=("a", "b"))
    assert any("stored with loss" in f.what and f.severity == "error"
               for f in check_collection(opened).findings)  # fmt: skip


def test_a_jpeg_with_a_thumbnail_is_its_first_picture(tmp_path):
    first, second = Image.fromarray(SCENE), Image.fromarray(SCENE[::-1].copy())
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    with Image.open(tmp_path / "a.jpg") as stored:
        assert stored.format == "MPO"
    read = formats.read_image(tmp_path / "a.jpg")[0][0]
    assert np.abs(read - SCENE).max() < 30


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_in_the_alpha_channel_is_named(tmp_path, mode):
    alpha = Image.fromarray(np.eye(16, dtype=np.uint8) * 255)
    base = Image.new("RGB" if mode == "RGBA" else "L", (16, 16), 255 if mode == "LA" else "white")
    base.putalpha(alpha)
    base.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert stored.mode == mode
    for read in (formats.read_binary, formats.read_labels):
        with pytest.raises(DataError, match=r"a\.png: .*the mask seems to be in the alpha channel"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("unit", "per_unit", "mm"), [("micron", 2.0, 5e-4), ("mm", 10.0, 0.1), ("cm", 50.0, 0.2)]
)
def test_a_calibration_of_imagej_is_the_spacing(tmp_path, unit, per_unit, mm):
    text = f"ImageJ=1.53\nimages=1\nunit={unit}\n"
    Image.fromarray(SCENE).save(
        tmp_path / "a.tif", tiffinfo={270: text, 282: per_unit, 283: per_unit, 296: 1}
    )
    assert formats.read_image(tmp_path / "a.tif")[1] == pytest.approx((mm, mm))


@pytest.mark.parametrize(
    ("unit", "per_unit", "said"),
    [(3, 100.0, "100 pixels per cm (0.1 mm each)"), (2, 254.0, "254 pixels per inch (0.1 mm each)"),
     (2, 72.0, ""), (3, 118.11, "")],
)  # fmt: skip
def test_a_resolution_beside_those_of_print_is_told_and_not_taken(tmp_path, unit, per_unit, said):
    Image.fromarray(SCENE).save(
        tmp_path / "a.tif", tiffinfo={282: per_unit, 283: per_unit, 296: unit}
    )
    assert formats.read_image(tmp_path / "a.tif")[1] is None
    assert formats.read_picture(tmp_path / "a.tif").resolution == said


def test_a_photograph_off_the_scale_is_told(tmp_path):
    for part, pixels in (("images", np.full((8, 8), 688)), ("masks", np.eye(8))):
        (tmp_path / part).mkdir()
        pixels[0, 0] = 0
        if part == "images":
            tiff(tmp_path / part / "c.tif", pixels, sample=2)
        else:
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / part / "c.png")
    found = check_collection(listed_collection(str(tmp_path))).findings
    (scale,) = (f for f in found if f.kind == "scale")
    assert "on a scale of 0 to 255; this image runs from 0 to 688" in scale.what
