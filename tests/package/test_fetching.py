import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from llm4seg_probe.errors import DownloadError
from llm4seg_probe.fetching import Package, download, extract
from llm4seg_probe.storage import sha256_of_file

SLICERIO = Package(
    "slicerio", "1.4.0", "ae3432ee06386bfe3b2e8d2d07940411fcbaefab8ed89a3853ee9c5ac19e296b", 827_115
)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make pip look where nothing answers."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")


@pytest.mark.slow
def test_a_package_is_fetched_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    archive = download(SLICERIO, tmp_path)
    assert sha256_of_file(archive) == SLICERIO.sha256
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.slow
def test_a_broken_download_is_said_and_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Package("slicerio", "1.4.0", "0" * 64, 827_115)
    with pytest.raises(DownloadError, match="came broken twice"):
        download(other, tmp_path)
    assert "came broken; starting again" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_without_network_the_message_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"could not be fetched from PyPI. Is there a network"):
        download(SLICERIO, tmp_path)


def wheel(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def sdist(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.parametrize(("pack", "suffix"), [(wheel, "whl"), (sdist, "tar.gz")])
def test_only_the_named_members_are_unpacked(tmp_path: Path, pack, suffix: str) -> None:
    archive = pack(tmp_path / f"a.{suffix}", {"p/x.bin": b"x", "p/y.py": b"y", "../z": b"z"})
    extract(archive, {"p/x.bin": "kept.bin"}, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept.bin"]
    assert (tmp_path / "out" / "kept.bin").read_bytes() == b"x"
    with pytest.raises(DownloadError, match="does not hold what is expected"):
        extract(archive, {"p/none": "none"}, tmp_path / "out")
