"""Places that a run.pt names, and places where nothing can be written: the line says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from corpus import Materials

import llm4seg_probe as lp
from llm4seg_probe.errors import DataError, SourceError, TrainingError
from llm4seg_probe.training import run_folder


@pytest.fixture
def changed(source: Materials, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run with one field of its configuration set."""

    def change(section: str, field: str, value: object) -> Path:
        content = torch.load(source.run, weights_only=True)
        content["config"][section][field] = value
        torch.save(content, tmp_path / "run.pt")
        return tmp_path / "run.pt"

    return change


@pytest.mark.parametrize("name", ["/dev/null", "/no/such/folder", "nothing-of-that-name", "/"])
def test_images_that_cannot_be_opened_name_the_run(name: str, changed: Callable) -> None:
    path = changed("data", "name", name)
    with pytest.raises(DataError) as error:
        lp.load(path).collection()
    assert str(error.value).startswith(f"{path}: its images (data.name) cannot be opened: ")
    assert str(error.value).endswith("Or name them with --data FOLDER")


def test_images_given_by_the_user_do_not(source: Materials, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no such folder: "):
        lp.load(source.run).collection(tmp_path / "none")


@pytest.mark.parametrize("name", ["http://127.0.0.1:9/x", "|id", "/no/such/folder"])
def test_a_layer_that_cannot_be_had_names_the_run(name: str, changed: Callable) -> None:
    path = changed("booster", "source", name)
    with pytest.raises(SourceError) as error:
        lp.load(path)
    assert str(error.value).startswith(f"{path}: its layer (booster.source): ")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no file system without files here")
@pytest.mark.parametrize("wait", [True, False])
def test_a_run_in_a_place_without_files_is_refused(wait: bool) -> None:
    told = r"^/proc: no run can be written there .*: name another folder with --out"
    with pytest.raises(TrainingError, match=told), run_folder.locked(Path("/proc/x"), wait=wait):
        pass


def test_a_run_where_a_file_lies_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a")
    told = "out: is there already and is no folder: name another with --out, or move it away"
    with (
        pytest.raises(TrainingError, match=told),
        run_folder.locked(tmp_path / "out", wait=False),
    ):
        pass
    with (
        pytest.raises(TrainingError, match=r"out: no run can be written there \(File exists\)"),
        run_folder.locked(tmp_path / "out" / "run", wait=False),
    ):
        pass
    assert (tmp_path / "out").read_text() == "a"


@pytest.mark.parametrize("below", ["", "inner/deeper"])
def test_a_command_says_what_stands_in_the_way_of_its_folder(
    below: str, source: Materials, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "out").write_text("a")
    line = refused("data", "check", source.data, "--out", tmp_path / "out" / below)
    assert f"{tmp_path / 'out'}: is there already and is no folder: name another" in line
