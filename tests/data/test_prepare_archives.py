"""Archives that want something else than to be unpacked. All are made here, and small."""

import io
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from llm4seg_probe.data.prepare import archives
from llm4seg_probe.data.prepare.archives import unpack
from llm4seg_probe.data.prepare.build import prepare
from llm4seg_probe.errors import DataError


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in members:
            out.writestr(name, content)
    return path


def tar_of(path, members, compression="xz"):
    with tarfile.open(path, f"w:{compression}") as out:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


MAKERS = pytest.mark.parametrize("make", [zip_of, tar_of])


def everything_under(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@MAKERS
def test_only_images_and_tables_come_out(make, tmp_path):
    members = [
        ("top/a.png", b"1"),
        ("top/deep/b.NII.GZ", b"2"),
        ("top/t.csv", b"3"),
        ("top/IM0001", b"4"),
        ("top/run.sh", b"5"),
        ("top/setup.py", b"5"),
        ("top/model.pkl", b"6"),
        ("top/.hidden.png", b"7"),
        ("__MACOSX/top/._a.png", b"8"),
    ]
    unpack(make(tmp_path / "archive", members), tmp_path / "out")
    assert everything_under(tmp_path / "out") == [
        "top",
        "top/IM0001",
        "top/a.png",
        "top/deep",
        "top/deep/b.NII.GZ",
        "top/t.csv",
    ]
    assert (tmp_path / "out" / "top" / "a.png").read_bytes() == b"1"


@MAKERS
@pytest.mark.parametrize(
    "name", ["../a.png", "top/../../a.png", "/tmp/a.png", "..\\a.png", "C:\\a.png", "C:/a.png"]
)
def test_no_member_leads_out_of_the_folder(make, name, tmp_path):
    archive = make(tmp_path / "archive", [("fine.png", b"1"), (name, b"2")])
    with pytest.raises(DataError, match=r"archive: the member '.*' leads out of the folder"):
        unpack(archive, tmp_path / "inner" / "out")
    assert everything_under(tmp_path / "inner") == ["out", "out/fine.png"]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_tar_with_a_link_or_a_device_is_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as out:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        out.addfile(info)
    with pytest.raises(DataError, match=r"a\.tar: a\.png is a link or a device"):
        unpack(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_with_a_link_is_refused(tmp_path):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = 0o120777 << 16
    zip_of(tmp_path / "a.zip", [(info, b"/etc/passwd")])
    with pytest.raises(DataError, match=r"a\.zip: a\.png is a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@MAKERS
def test_a_bomb_is_stopped_before_it_fills_the_disk(make, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_RATIO_FROM", 2**16)
    archive = make(tmp_path / "archive", [("a.png", bytes(2**23)), ("b.png", bytes(2**23))])
    with pytest.raises(DataError, match=r"archive: unpacks to more than .* MB from 0\.0 MB, which"):
        unpack(archive, tmp_path / "out")
    written = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    assert written <= max(2**16, 100 * archive.stat().st_size)


@MAKERS
def test_too_many_files_are_refused(make, tmp_path, monkeypatch):
    monkeypatch.setenv("LLM4SEG_PROBE_BOUNDS", "files=3")
    archive = make(tmp_path / "archive", [(f"{i}.png", b"1") for i in range(4)])
    with pytest.raises(DataError, match="archive: holds more than 3 files"):
        unpack(archive, tmp_path / "out")


def test_a_file_given_twice_is_refused(tmp_path):
    archive = tar_of(tmp_path / "archive", [("a.png", b"1"), ("a.png", b"2")])
    with pytest.raises(DataError, match=r"archive: holds the file a\.png twice"):
        unpack(archive, tmp_path / "out")


def test_an_encrypted_zip_is_said_to_be_one(tmp_path):
    path = zip_of(tmp_path / "a.zip", [("a.png", b"1")])
    whole = bytearray(path.read_bytes())
    # The flag of encryption in the local header and in the directory.
    whole[6] |= 1
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"a\.zip: is encrypted; unpack it yourself with its passw"):
        unpack(path, tmp_path / "out")


def test_a_damaged_archive_is_named(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    members = [("a.png", content), ("b.png", content)]
    zip_of(tmp_path / "a.zip", members)
    tar_of(tmp_path / "a.tar.gz", members, "gz")
    tar_of(tmp_path / "cut.tar.gz", members, "gz")
    path = tmp_path / "cut.tar.gz"
    path.write_bytes(path.read_bytes()[:90_000])
    for name in ("a.zip", "a.tar.gz", "cut.tar.gz"):
        path = tmp_path / name
        whole = bytearray(path.read_bytes())
        middle = len(whole) // 3
        whole[middle : middle + 20] = bytes(20)
        path.write_bytes(whole)
        with pytest.raises(DataError, match=rf"{name}: is damaged \(.+\); fetch it again"):
            unpack(path, tmp_path / f"out-{name}")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"Rar!\x1a\x07", "a RAR archive; unpack it yourself"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it yourself"),
        (b"PK\x03\x04" + bytes(50), "a zip archive that is cut off; fetch it again"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\x1f\x8b\x08", "a compressed file that holds no tar archive"),
        (b"anything else", r"a file of another kind \(\.zip\)"),
    ],
)
def test_what_is_no_archive_is_said(tmp_path, content, found):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(
        DataError, match=rf"a\.zip: expected a zip or tar archive, .* found {found}"
    ):
        unpack(tmp_path / "a.zip", tmp_path / "out")


@MAKERS
@pytest.mark.parametrize(
    "names", [("benign", "benign/a.png"), ("benign/a.png", "benign"), ("x/t.csv", "x/t.csv/a.png")]
)
def test_a_file_and_a_folder_of_one_name_are_refused(make, names, tmp_path):
    archive = make(tmp_path / "archive", [(name, b"1") for name in names])
    told = f"archive: holds a file and a folder of one name, '{min(names, key=len)}'"
    with pytest.raises(DataError, match=told):
        unpack(archive, tmp_path / "out")


def test_a_member_whose_name_is_no_utf8_is_refused(tmp_path):
    archive = tar_of(tmp_path / "archive", [("benign/c\udcff0.png", b"1")])
    with pytest.raises(DataError, match="has a name that no file can have"):
        unpack(archive, tmp_path / "out")


def test_messages_name_the_archive_and_the_member(tmp_path):
    content = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(content, "png")
    archive = zip_of(tmp_path / "busi.zip", [("benign/benign (1).png", content.getvalue())])
    with pytest.raises(DataError) as error:
        prepare("busi", archive, tmp_path / "out")
    assert f"{archive}/benign/benign (1).png: has no mask" in str(error.value)
    assert "unpacked" not in str(error.value)
    assert "preparing" not in str(error.value)
