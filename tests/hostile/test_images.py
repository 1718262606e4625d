"""Images: no header opens another file, starts a program, ends the process or takes memory."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from image_files import IMAGES, dicom, nifti
from PIL import Image

from llm4seg_probe.data import formats
from llm4seg_probe.errors import DataError
from llm4seg_probe.reading.arrays import unpacked
from llm4seg_probe.reading.bounds import raised
from llm4seg_probe.reading.metaimage import read_metaimage_file
from llm4seg_probe.reading.nrrd import read_nrrd_file

DRAW = np.random.default_rng(3)
HEADER = "ObjectType = Image\nNDims = 3\nDimSize = 16 16 1\nElementType = MET_UCHAR\n"


def refused(path: Path, message: str = ".") -> str:
    with pytest.raises(DataError, match=message) as error:
        formats.read_image(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        "%s%s%s%s%s%s%s%s.raw 1 1 1", "%n.raw", "a%03d.raw 1 9 1", "../../../../../etc/passwd",
        "/etc/passwd", "..\\a.raw", "C:\\a.raw", "LIST", "", "a\0b", "a.mhd",
    ],
)  # fmt: skip
def test_a_metaimage_header_names_no_pattern_and_no_other_folders_file(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.raw").write_bytes(bytes(256))
    path = tmp_path / "a.mhd"
    path.write_text(f"{HEADER}ElementDataFile = {name}\n")
    assert "ElementDataFile" in refused(path)


def test_pixels_in_a_folder_below_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.raw").write_bytes(bytes(range(256)))
    path = tmp_path / "a.mhd"
    path.write_text(f"{HEADER}ElementDataFile = sub/a.raw\n")
    assert formats.read_image(path)[0].sum() == sum(range(256))


def test_the_printf_header_does_not_end_the_process(tmp_path: Path, refused: Callable) -> None:
    for part in ("images", "masks"):
        (tmp_path / "d" / part).mkdir(parents=True)
    (tmp_path / "d/images/a.mhd").write_text(f"{HEADER}ElementDataFile = %s%s%s%s%n.raw 1 1 1\n")
    Image.new("L", (16, 16)).save(tmp_path / "d/masks/a.png")
    from forked import prepare, run

    prepare()
    (tmp_path / "process").mkdir()
    code, *_, said = run(["data", "check", str(tmp_path / "d")], tmp_path / "process")
    assert code == 2
    assert "its ElementDataFile is" in said


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", [".mha", ".mhd"])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("u1", (5, 4, 3)), ("i2", (5, 4, 3)), ("f4", (5, 4)), ("f8", (2, 5, 4, 3)), ("u2", (1, 5, 4))],
)
def test_metaimages_are_what_itk_reads(
    kind: str, shape: tuple[int, ...], suffix: str, packed: bool, tmp_path: Path
) -> None:
    array = (DRAW.random(shape) * 200).astype(kind)
    image = SimpleITK.GetImageFromArray(array, isVector=False)
    axes = image.GetDimension()
    turn, _ = np.linalg.qr(DRAW.random((axes, axes)))
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    image.SetDirection(turn.ravel().tolist())
    image.SetSpacing((DRAW.random(axes) + 0.5).tolist())
    image.SetOrigin((DRAW.random(axes) * 100).tolist())
    path = tmp_path / f"a{suffix}"
    SimpleITK.WriteImage(image, str(path), useCompression=packed)
    ours, theirs = read_metaimage_file(path), SimpleITK.ReadImage(str(path))
    assert np.array_equal(ours.pixels, SimpleITK.GetArrayFromImage(theirs))
    assert ours.pixels.dtype == SimpleITK.GetArrayFromImage(theirs).dtype
    np.testing.assert_allclose(ours.spacing, theirs.GetSpacing())
    np.testing.assert_allclose(ours.origin, theirs.GetOrigin())
    np.testing.assert_allclose(ours.direction.ravel(), theirs.GetDirection(), atol=1e-9)


def test_several_values_a_pixel_and_big_endian_are_what_itk_reads(tmp_path: Path) -> None:
    array = (DRAW.random((3, 4, 5, 2)) * 200).astype("u2")
    path = tmp_path / "a.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(path))
    assert np.array_equal(read_metaimage_file(path).pixels, array)
    head, _, data = path.read_bytes().partition(b"LOCAL\n")
    swapped = np.frombuffer(data, "<u2").astype(">u2").tobytes()
    head = head.replace(b"BinaryDataByteOrderMSB = False", b"BinaryDataByteOrderMSB = True")
    (tmp_path / "b.mha").write_bytes(head + b"LOCAL\n" + swapped)
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "b.mha")))
    assert np.array_equal(read_metaimage_file(tmp_path / "b.mha").pixels, theirs)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("kind", ["u1", "<i2", ">i2", "<f4", "<f8", "<u4"])
def test_nrrds_are_what_pynrrd_reads(kind: str, encoding: str, tmp_path: Path) -> None:
    import nrrd

    array = (DRAW.random((3, 4, 5)) * 200).astype(kind)
    path = tmp_path / "a.nrrd"
    nrrd.write(str(path), array, {"encoding": encoding, "spacings": [1.0, 2.0, 3.0]})
    ours, header = read_nrrd_file(path)
    theirs, their_header = nrrd.read(str(path))
    assert np.array_equal(ours, theirs)
    assert header.keys() == their_header.keys()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("data file: /etc/passwd", "data file"), ("data file: ../a.raw", "data file"),
        ("datafile: LIST", "data"), ("data file: a%d.raw 1 3 1", "data file"),
        ("line skip: 999999999", "line skip"), ("byte skip: 99999999999999", "not readable"),
        ("byte skip: -2", "byte skip"), ("line skip: -1", "line skip"),
    ],
)  # fmt: skip
def test_an_nrrd_header_leads_nowhere_else(line: str, message: str, tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uint8\ndimension: 2\nsizes: 16 16\nencoding: raw\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(f"{head}{line}\n\n".encode() + bytes(256))
    refused(path, message)


def announcing(shape: tuple[int, ...], code: int = 4, bits: int = 16) -> bytes:
    header = nibabel.Nifti1Header()
    header["dim"][: len(shape) + 1] = len(shape), *shape
    header["datatype"], header["bitpix"], header["magic"] = code, bits, b"n+1"
    header["vox_offset"] = 352
    return bytes(header.binaryblock) + bytes(1000)


def _png(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    row = zlib.compress(bytes(height * (1 + 3 * width)) if width < 20_000 else b"", 9)
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


NPY = io.BytesIO()
np.lib.format.write_array_header_1_0(
    NPY, {"descr": "<f8", "fortran_order": False, "shape": (1_250_000, 1000, 1000)}
)
META = HEADER.replace("16 16 1", "{0} {0} {0}") + "CompressedData = True\nElementDataFile = LOCAL\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: {0} {0} {0}\nencoding: gzip\n\n"
LARGE = {
    "a.nii": announcing((2000, 2000, 750)),
    "b.nii.gz": gzip.compress(announcing((2000, 2000, 750))),
    "c.nii.gz": gzip.compress(announcing((32767, 32767, 32767, 32767))),
    "d.nii.gz": gzip.compress(announcing((2000, 2000, 7), 128, 24)),
    "e.npy": NPY.getvalue(),
    "f.mha": META.format(1000).encode() + zlib.compress(bytes(10**7)),
    "g.mha": META.format(10**12).encode(),
    "h.nrrd": NRRD.format(1500).encode() + gzip.compress(bytes(10**7)),
    "i.png": _png(13_377, 13_377)[:5000],
    "j.png": _png(2**31 - 1, 2**31 - 1),
    "k.bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_a_small_file_that_announces_much_is_refused_before_it_takes_memory(
    name: str, tmp_path: Path
) -> None:
    import resource

    path = tmp_path / name
    path.write_bytes(LARGE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


def test_the_bound_is_stated_and_can_be_raised(tmp_path: Path) -> None:
    (tmp_path / "c.nii.gz").write_bytes(nifti(np.zeros((64, 64, 64), np.uint8), True))
    with raised("bytes=1e6"):
        said = refused(tmp_path / "c.nii.gz")
    assert "raise the bound with `llm4seg-probe --bounds bytes=" in said
    assert formats.read_image(tmp_path / "c.nii.gz")[0].shape == (1, 64, 64, 64)


@pytest.mark.parametrize("suffix", list(IMAGES))
def test_what_was_not_damaged_is_read(suffix: str, tmp_path: Path) -> None:
    array = np.asarray(DRAW.integers(0, 200, (16, 16, 4)), np.uint8)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(IMAGES[suffix](array))
    pixels, _ = formats.read_image(path)
    assert np.isfinite(pixels).all()
    assert pixels.shape[-2:] == (16, 16) or suffix == ".npy"


def test_eps_in_a_png_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = tmp_path / "bin" / "gs"
    recorder.parent.mkdir()
    recorder.write_text(f"#!/bin/sh\ntouch {tmp_path / 'started'}\n")
    recorder.chmod(0o755)
    monkeypatch.setenv("PATH", f"{recorder.parent}:{os.environ['PATH']}")
    path = tmp_path / "a.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
    )
    refused(path, "cannot identify image file")
    assert not (tmp_path / "started").exists()


def test_a_deflated_dicom_bomb_is_counted_and_not_kept(tmp_path: Path) -> None:
    plain = dicom(np.zeros((16, 16, 1), np.uint8))
    uid = b"1.2.840.10008.1.2.1.99"
    start = plain.index(b"1.2.840.10008.1.2.1")
    length = start - 2
    meta = bytearray(plain[:length] + struct.pack("<H", len(uid)) + uid)
    old_end = start + struct.unpack("<H", plain[length:start])[0]
    meta += plain[old_end:]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(600)) + packer.flush()
    group = struct.unpack("<I", meta[140:144])[0] + len(uid) - (old_end - start)
    meta[140:144] = struct.pack("<I", group)
    path = tmp_path / "a.dcm"
    path.write_bytes(bytes(meta[: 144 + group]) + bomb)
    refused(path, "unpacks to")


@pytest.mark.parametrize(
    "array",
    [np.array([["a", "b"]]), np.zeros((4, 4), "c16"), np.zeros((4, 4), [("a", "f4")]),
     np.zeros((4, 4), "M8[s]")],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
def test_arrays_of_no_plain_numbers_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", "no plain numbers|complex numbers")


@pytest.mark.parametrize("kind", ["zlib", "gzip", "bzip2"])
@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
def test_unpacked_gives_exactly_what_is_announced(kind: str, size: int) -> None:
    import bz2

    pack = {"zlib": zlib.compress, "gzip": gzip.compress, "bzip2": bz2.compress}[kind]
    content = DRAW.integers(0, 4, size, np.uint8).tobytes()
    assert unpacked(io.BytesIO(pack(content)), kind, size) == content
    assert unpacked(io.BytesIO(pack(content)), kind, size // 2) == content[: size // 2]
    with pytest.raises(ValueError, match="are announced"):
        unpacked(io.BytesIO(pack(content)), kind, size + 1)


def test_a_link_in_a_data_folder_is_followed_and_a_dead_one_is_told(tmp_path: Path) -> None:
    from llm4seg_probe.data.datasets import open_collection

    store = tmp_path / "annex"
    store.mkdir()
    for part in ("images", "masks"):
        (tmp_path / "d" / part).mkdir(parents=True)
        for name in "ab":
            Image.new("L", (16, 16), 1).save(store / f"{part}-{name}.png")
            (tmp_path / "d" / part / f"{name}.png").symlink_to(store / f"{part}-{name}.png")
    table = "image,image_file,mask_file\n" + "".join(
        f"{name},images/{name}.png,masks/{name}.png\n" for name in "ab"
    )
    (tmp_path / "d" / "samples.csv").write_text(table)
    assert len(open_collection(str(tmp_path / "d")).samples) == 2
    (store / "masks-b.png").unlink()
    with pytest.raises(DataError, match="a link to what is not here"):
        open_collection(str(tmp_path / "d"))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "images/../../x", "C:/x"])
def test_a_table_leads_out_of_its_folder_by_no_name(name: str, tmp_path: Path) -> None:
    from llm4seg_probe.data.datasets import open_collection

    (tmp_path / "samples.csv").write_text(f"image,image_file,mask_file\na,{name},a.png\n")
    with pytest.raises(DataError, match="lies outside the folder"):
        open_collection(str(tmp_path))
