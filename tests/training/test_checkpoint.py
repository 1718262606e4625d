import os
import pickle
from pathlib import Path

import pytest
import torch

from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.training.checkpoint import FORMAT, VERSION, read, read_run, save


class Exploit:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    content = {
        "format": FORMAT,
        "version": VERSION,
        "state": {"w": torch.arange(6.0).reshape(2, 3)},
        "split": {"train": ["a"], "seed": 0},
        "layer": None,
    }
    save(content, tmp_path / "run.pt")
    found = read(tmp_path / "run.pt")
    assert torch.equal(found.pop("state")["w"], content.pop("state")["w"])
    assert found == content


@pytest.mark.parametrize("in_an_archive", [False, True])
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(
    tmp_path: Path, in_an_archive: bool
) -> None:
    path, trace = tmp_path / "run.pt", tmp_path / "executed"
    if in_an_archive:
        torch.save({"format": FORMAT, "version": VERSION, "state": Exploit(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Exploit(trace)))
    with pytest.raises(CheckpointError, match="could run code") as refused:
        read_run(path)
    assert str(path) in str(refused.value)
    assert not trace.exists()


def test_the_exploit_would_have_worked(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Exploit(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


def cut(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    for share in (0.05, 0.5, 0.9, 0.999):
        save({"format": FORMAT, "version": VERSION, "state": {"w": torch.randn(50, 50)}}, path)
        cut(path, share)
        with pytest.raises(CheckpointError, match="cut short"):
            read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}}, "no run of llm4seg-probe.*convert REFERENCE.pth"),
        ({"format": FORMAT, "version": 99}, "has version 99 of the run format"),
        ([1, 2], "holds a list, no checkpoint"),
    ],
)
def test_archives_of_other_origin_are_named(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=message):
        read_run(tmp_path / "run.pt")


def test_what_is_no_archive_at_all_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pt").touch()
    (tmp_path / "text.pt").write_text("hello")
    for name, message in [
        ("none.pt", "does not exist"),
        (".", "is a folder; give the run.pt inside it"),
        ("empty.pt", "is empty"),
        ("text.pt", "is not a torch archive"),
    ]:
        with pytest.raises(CheckpointError, match=message):
            read(tmp_path / name)


def test_damage_inside_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    save({"format": FORMAT, "version": VERSION, "state": {"w": torch.zeros(1000)}}, path)
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_run(path)
