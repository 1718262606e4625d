"""A pipe, a device, a folder or a dead link in the place of a text, a table or a checkpoint."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus import Materials

from llm4seg_probe.data.splits import Split
from llm4seg_probe.errors import CheckpointError, DataError, TableError, UserError
from llm4seg_probe.reading.bounds import raised
from llm4seg_probe.reading.names import files_of, other_than_file
from llm4seg_probe.reading.text import read_csv, read_json, read_text, read_yaml_values
from llm4seg_probe.statistics.table_file import read_files
from llm4seg_probe.tables import SCORES, read_table
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.predict import images_in

PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a dead link": lambda path: path.symlink_to(".git/annex/objects/xx"),
    "a link to itself": lambda path: path.symlink_to(path.name),
}
SAID = {
    "a pipe": "is no regular file (a pipe, a socket or a device)",
    "a device": "is no regular file (a pipe, a socket or a device)",
    "a folder": "is a folder",
    "a dead link": "is a link to a file that is not here (git annex get, datalad get)",
    "a link to itself": "is a link that leads back to itself",
}
READERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: read_text(path, UserError),
    "yaml": lambda path: read_yaml_values(path, UserError),
    "json": lambda path: read_json(path, UserError),
    "csv": lambda path: read_csv(path, UserError),
    "table of runs": lambda path: read_table(path, SCORES),
    "table of results": lambda path: read_files([path]),
    "checkpoint": checkpoint.read,
    "split": Split.load,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reader", READERS)
def test_what_stands_in_a_files_place_is_called_what_it_is(
    reader: str, place: str, tmp_path: Path
) -> None:
    path = tmp_path / "named"
    PLACES[place](path)
    with pytest.raises(UserError) as error:
        READERS[reader](path)
    assert SAID[place] in str(error.value)
    assert "named" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_and_nothing_are_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a")
    (tmp_path / "link").symlink_to("file")
    names = ("file", "link", "none", "no\0name")
    assert [other_than_file(tmp_path / name) for name in names] == [""] * 4


@pytest.mark.parametrize("place", ["a dead link", "a link to itself"])
def test_links_without_a_file_are_no_absence(place: str, tmp_path: Path) -> None:
    PLACES[place](tmp_path / "run.pt")
    (found,) = files_of([tmp_path / "run.pt"], CheckpointError)
    with pytest.raises(CheckpointError, match=r"run\.pt is a link"):
        checkpoint.read(found)
    with pytest.raises(DataError, match=r"run\.pt: is a link"):
        images_in(tmp_path / "run.pt")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no files of unknown size here")
def test_no_more_is_read_than_the_bound_whatever_the_file_system_says() -> None:
    path = Path("/proc/self/status")
    assert path.stat().st_size == 0
    with raised("text=10,table=10"):
        with pytest.raises(UserError, match=r"has 11 bytes or more.*--bounds text="):
            read_text(path, UserError)
        with pytest.raises(TableError, match=r"has 11 bytes or more.*--bounds table="):
            read_csv(path, TableError)
    assert read_text(path, UserError).startswith("Name:")


def commands(source: Materials, folder: Path, place: str) -> dict[str, list[object]]:
    """Commands on a folder of somebody else, each with one such file in it."""
    for name in ("my-data", "split-data", "r"):
        shutil.copytree(source.results if name == "r" else source.data, folder / name)
    found = {
        "configuration": (folder / "c.yaml", ["show", folder / "c.yaml"]),
        "sweep": (folder / "s.yaml", ["sweep", folder / "s.yaml", "--dry-run"]),
        "description": (folder / "my-data" / "dataset.json", ["data", "check", folder / "my-data"]),
        "split": (
            folder / "split.json",
            ["train", folder / "t.yaml"],
        ),
        "page": (folder / "r" / "analysis.yaml", ["report", folder / "r"]),
    }
    text = source.config.replace('"split": "groups"', f'"split": "{folder / "split.json"}"')
    (folder / "t.yaml").write_text(text)
    for path, _ in found.values():
        path.unlink(missing_ok=True)
        PLACES[place](path)
    return {name: command for name, (_, command) in found.items()}


@pytest.mark.parametrize("place", ["a pipe", "a device"])
@pytest.mark.parametrize("kind", ["configuration", "sweep", "description", "split", "page"])
def test_no_command_waits_for_a_pipe_or_fills_memory_from_a_device(
    kind: str, place: str, source: Materials, tmp_path: Path, refused: Callable[..., str]
) -> None:
    line = refused(*commands(source, tmp_path, place)[kind])
    assert "is no regular file" in line or "links in results are not followed" in line
