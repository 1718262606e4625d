import json
from pathlib import Path

import pytest

from llm4seg_probe.storage import atomically, cache_folder, sha256_of_file, write_json, write_text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    write_text(target, "old")

    def fail_half_way() -> None:
        with atomically(target) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_partial_file_has_the_suffix_of_the_target(tmp_path: Path) -> None:
    with atomically(tmp_path / "new" / "maps.npz") as partial:
        assert partial.suffix == ".npz"
        partial.write_bytes(b"x")
    assert (tmp_path / "new" / "maps.npz").read_bytes() == b"x"


def test_a_written_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    write_text(tmp_path / "ours", "x")
    (tmp_path / "plain").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_json_of_equal_values_has_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"x": 1, "ä": [2]})
    write_json(tmp_path / "b", {"ä": [2], "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert json.loads((tmp_path / "a").read_text()) == {"x": 1, "ä": [2]}


def test_sha256_of_the_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of_file(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", "/somewhere/else")
    assert cache_folder() == Path("/somewhere/else")
    monkeypatch.delenv("LLM4SEG_PROBE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/llm4seg-probe")
