"""What the README and the documentation print is what the program takes."""

from __future__ import annotations

import ast
import operator
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import llm4seg_probe
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, load_config, read_yaml
from llm4seg_probe.statistics.judgement import judge
from llm4seg_probe.study.analysis import Analysis, load_analysis
from llm4seg_probe.tables import SCORES, read_table

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
WRITTEN_BY_THE_BUILD = re.compile(
    r"(probes/\w+|reference/(configuration|analysis-file|command-line|tables|arms))\.md$"
)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"(?<!`)\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    tracked = [README, ROOT / "CONTRIBUTING.md", ROOT / "analyses/README.md"]
    pages = [
        path
        for path in sorted((ROOT / "docs").rglob("*.md"))
        if not WRITTEN_BY_THE_BUILD.search(path.as_posix()) and "_build" not in path.parts
    ]
    reports = [
        path for path in sorted((ROOT / "reports").rglob("*.md")) if path.name != "methods.md"
    ]
    return [*tracked, *pages, *reports]


EACH = pytest.mark.parametrize(
    "path", documents(), ids=lambda path: path.relative_to(ROOT).as_posix()
)


def blocks(path: Path, *kinds: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [body for kind, body in FENCE.findall(text) if kind in kinds]


@EACH
def test_links_lead_to_what_is_there(path: Path) -> None:
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        target = link.split("#")[0]
        if not target or re.match(r"[a-z]+:", target) or WRITTEN_BY_THE_BUILD.search(target):
            continue
        assert (path.parent / target).exists(), link


def commands(path: Path) -> Iterator[str]:
    for block in blocks(path, "console", "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("llm4seg-probe "):
                yield line.strip()


def parsed(line: str) -> dict[str, Any]:
    """The arguments of a command as it reads them; fails where it does not take them."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    if words[:1] == ["--help"]:
        return {}
    assert not hasattr(command, "commands"), f"{line}: there is no command {words[0]}"
    arguments: dict[str, Any] = command.make_context(command.name, words).params
    return arguments


@EACH
def test_commands_take_the_arguments_that_are_printed(path: Path) -> None:
    for line in commands(path):
        parsed(line)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError, match="there is no command trian"):
        parsed("llm4seg-probe trian run.yaml")
    for wrong in ("train --out runs", "train run.yaml --outt runs", "sweep a.yaml --size big"):
        with pytest.raises(Exception, match=r"Missing parameter|No such option|is not one of"):
            parsed(f"llm4seg-probe {wrong}")


def test_the_fields_that_the_readme_changes_exist(tmp_path: Path) -> None:
    (block,) = blocks(README, "yaml")
    run = tmp_path / "run.yaml"
    run.write_text(block, encoding="utf-8")
    assert load_config(run).booster.source == "smollm2-135m"  # works without an account
    changes = [parsed(line)["overrides"] for line in commands(README) if "probe train" in line]
    assert len(changes) == 2
    for overrides in changes:
        load_config(run, tuple(overrides))


def test_targets_and_extras_that_documents_name_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.M):
            assert re.search(rf"^{''.join(target)}:", makefile, re.M), (path.name, target)
        extras = re.findall(r"llm4seg-probe\[([\w,]+)\]", text)
        named = {extra for listed in extras for extra in listed.split(",")}
        assert named <= project["optional-dependencies"].keys(), path.name


def test_the_analyses_are_all_described_with_their_claims_and_margins() -> None:
    text = (ROOT / "analyses/README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`(.+?)\.yaml`\]\(\1\.yaml\) \| (.+) \|$", text, re.M))
    assert rows.keys() == {path.stem for path in (ROOT / "analyses").glob("*.yaml")}
    for name, row in rows.items():
        for claim in read_yaml(ROOT / f"analyses/{name}.yaml").get("claims", []):
            assert re.search(rf"`{claim['id']}` \({claim['margin']:g}\b", row), (name, claim["id"])


@pytest.mark.slow
def test_the_python_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(README, "python")
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["recording"].grid("after") == (8, 8)
    assert capsys.readouterr().out.count("tensor(") == 2
    assert names["network"] is not names["cnn"]


@EACH
def test_configurations_are_valid(path: Path, tmp_path: Path) -> None:
    for block in blocks(path, "yaml"):
        values = yaml.safe_load(block)
        file = tmp_path / "printed.yaml"
        file.write_text(block, encoding="utf-8")
        if "name" in values:
            load_analysis(file)
        elif set(values) <= {"preset", *Config.model_fields}:
            load_config(file)
        else:  # a part of an analysis
            assert set(values) <= set(Analysis.model_fields), values


@EACH
def test_fields_that_are_named_in_passing_exist_and_take_the_value(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for field, value in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: ([a-z]+))?`", text):
        if field.partition(".")[0] in Config.model_fields:
            inner: Any = Config()
            for name in field.split("."):
                assert hasattr(inner, name), field
                inner = getattr(inner, name)
            if value:
                section, _, name = field.rpartition(".")
                owner = operator.attrgetter(section)(Config())
                type(owner).model_validate({**owner.model_dump(), name: value})


@EACH
def test_python_uses_names_that_are_there(path: Path) -> None:
    for block in blocks(path, "python"):
        tree = ast.parse(block)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "lp"
            ):
                assert hasattr(llm4seg_probe, node.attr), node.attr


def test_the_readme_is_short() -> None:
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 600


def test_the_study_of_the_tutorial_is_judged_as_it_stands(tmp_path: Path) -> None:
    text = (ROOT / "docs/tutorials/my-study.md").read_text(encoding="utf-8")
    blocks = [body for language, body in FENCE.findall(text) if language == "yaml"]
    (tmp_path / "my-study.yaml").write_text(blocks[0], encoding="utf-8")
    claims = load_analysis(tmp_path / "my-study.yaml").claims
    scores = read_table(ROOT / "reports/demo-2-cores/scores.csv", SCORES)
    assert set(scores["split"]) == {"val", "test"}
    _, judged = judge(claims, {"scores": scores}, bootstrap=0)
    test = scores[(scores["split"] == "test") & (scores["checkpoint"] == "best")]
    means = test.groupby("arm")["dice"].mean()
    decisive = judged["decided_by"][0].removeprefix("llm against ")
    assert judged["verdict"][0] != "not run"
    assert judged["difference"][0] == pytest.approx(means["llm"] - means[decisive], rel=1e-6)
