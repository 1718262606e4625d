"""``--help`` as a reader meets it at 80 columns, ``-h``, ``--version``, completion and examples."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import webbrowser
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.cli.cache import cached
from llm4seg_probe.cli.options import ORDER, PANELS, examples
from llm4seg_probe.probes import registry

COMMAND = typer.main.get_command(app)


def commands(group=COMMAND, path: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, f"{name} ")
        else:
            found[path + name] = command
    return found


def said(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_help_has_groups_and_whole_descriptions_at_80_columns() -> None:
    text = said("-h")
    assert text == said("--help")
    places = [text.index(f"─ {panel} ─") for panel in ORDER]
    assert places == sorted(places)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in re.sub(r"name=number,…", "", text)
    flat = " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())
    for name, command in COMMAND.commands.items():
        summary = str(command.help).partition("\n\n")[0].replace("`", "")
        assert " ".join(summary.split()) in flat, name


def test_every_command_is_in_a_group_and_has_an_example() -> None:
    assert [name for name in commands() if not examples(name)] == []
    probes = {probe.name for probe in registry.PROBES}
    assert set(PANELS) | probes == set(COMMAND.commands)


@pytest.mark.parametrize("name", commands())
def test_examples_are_uses_that_parse(name: str) -> None:
    text = said(*name.split(), "-h")
    assert "<bool>" not in text
    shown = [line for line in text.splitlines() if "llm4seg-probe" not in line]
    assert max(map(len, shown)) <= 80
    for line in examples(name):
        assert f"llm4seg-probe {line}" in " ".join(text.split())
        words = shlex.split(line)[len(name.split()) :]
        commands()[name].make_context(name, words)  # as typed: options and their types


def test_it_says_its_version_and_offers_completion() -> None:
    assert said("--version") == f"llm4seg-probe {version('llm4seg-probe')}\n"
    assert "--install-completion" in said("-h")


@pytest.mark.parametrize(
    "words",
    [
        ["train", "nowhere.yaml"],
        ["show", "nowhere.yaml"],
        ["sweep", "nowhere.yaml"],
        ["rank", "--ckpt", "nowhere.pt"],
        ["predict", "--ckpt", "nowhere.pt", "--images", "x"],
        ["evaluate", "--ckpt", "nowhere.pt"],
        ["report", "nowhere"],
    ],
    ids=lambda words: words[0],
)
def test_a_wrong_path_is_told_before_torch_is_imported(words: list[str], tmp_path: Path) -> None:
    refuses_early(words, "nowhere", tmp_path)


def test_a_wrong_field_is_told_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("trainng: {epochs: 3}\n", encoding="utf-8")
    refuses_early(["train", "run.yaml"], "Did you mean 'training'", tmp_path)
    (tmp_path / "run.yaml").write_text("training: {epochs: 3}\n", encoding="utf-8")
    refuses_early(["show", "run.yaml", "training.epochs=abc"], "training.epochs", tmp_path)


def refuses_early(words: list[str], told: str, folder: Path) -> None:
    code = (
        "import sys\nfrom llm4seg_probe.cli import main\n"
        f"sys.argv = ['llm4seg-probe', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        "print([name for name in ('torch', 'lightning', 'transformers') if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=True
    )
    assert ended.stdout.splitlines()[-1] == "[]"
    assert told in ended.stderr


def test_a_page_is_opened_when_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    table = tmp_path / "printed.csv"
    table.write_text("Method,IoU\nU-Net,68.61 ± 2.86\nCMUNeXt,71.56 ± 2.43\n", encoding="utf-8")
    words = ["audit", str(table), "--n", "3", "--out", str(tmp_path / "out")]
    said(*words)
    assert not opened
    said(*words, "--open")
    assert opened == [(tmp_path / "out" / "index.html").as_uri()]


def test_the_cache_is_shown_and_cleared_by_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    assert "nothing" in said("cache")
    for part in ("data", "llm"):
        (tmp_path / "cache" / part).mkdir(parents=True)
        (tmp_path / "cache" / part / "file").write_bytes(b"x" * 2_000_000)
    (tmp_path / "cache" / "llm" / "link").symlink_to(tmp_path)
    assert [(part.name, part.size) for part in cached()] == [
        ("data", 2_000_000),
        ("llm", 2_000_000),
    ]
    refused = CliRunner().invoke(app, ["cache", "--clear", "dta"])
    assert refused.exit_code == 2
    assert "Did you mean 'data'" in refused.stderr
    assert "removed data: 2.0 MB" in said("cache", "--clear", "data")
    assert [part.name for part in cached()] == ["llm"]
    said("cache", "--clear", "all")
    assert not cached()
    assert tmp_path.is_dir()
