"""Patterns below folders whose names look like patterns."""

import pytest

from llm4seg_probe.cli.options import checkpoints
from llm4seg_probe.errors import CheckpointError


@pytest.mark.parametrize("folder", ["runs [1]", "a?b", "what * is", "[x]/[y]", "plain"])
def test_a_glob_below_a_folder_with_brackets(tmp_path, folder):
    for run in ("one", "two"):
        (tmp_path / folder / run).mkdir(parents=True)
        (tmp_path / folder / run / "run.pt").touch()
    found = checkpoints([str(tmp_path / folder / "*" / "run.pt")])
    assert [path.parent.name for path in found] == ["one", "two"]
    assert checkpoints([str(tmp_path / folder / "one" / "run.pt")]) == [found[0]]
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoints([str(tmp_path / folder / "*" / "last.pt")])
