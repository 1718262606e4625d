import re
import shlex
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import load_config, read_yaml
from llm4seg_probe.models.cmunext import CMUNeXt
from llm4seg_probe.study.analysis import load_analysis
from llm4seg_probe.study.overview import PROBES

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
ANALYSES = ROOT / "analyses"
DOCUMENTS = (README, ANALYSES / "README.md")


def blocks(language: str, document: Path = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), re.S)


COMMANDS = [
    line
    for document in DOCUMENTS
    for block in blocks("console", document)
    for line in block.splitlines()
    if line.startswith("llm4seg-probe")
]


@pytest.fixture
def run_yaml(tmp_path: Path) -> Path:
    """The configuration that the README shows."""
    path = tmp_path / "run.yaml"
    path.write_text(blocks("yaml")[0], encoding="utf-8")
    return path


def parsed(line: str) -> dict[str, Any]:
    """The arguments of a command as it reads them; fails where it does not take them."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"{line}: there is no command {name}"
        command = command.commands[name]
    arguments: dict[str, Any] = command.make_context(command.name, words).params
    return arguments


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_takes_the_arguments_that_the_documents_give_it(line: str) -> None:
    parsed(line)


def test_a_command_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(AssertionError, match="there is no command trian"):
        parsed("llm4seg-probe trian run.yaml")
    for wrong in ("train --out runs", "train run.yaml --outt runs", "sweep a.yaml --size big"):
        with pytest.raises(Exception, match=r"Missing parameter|No such option|is not one of"):
            parsed(f"llm4seg-probe {wrong}")


@pytest.mark.parametrize("line", [line for line in COMMANDS if "probe train" in line])
def test_the_fields_that_commands_change_exist(line: str, run_yaml: Path) -> None:
    load_config(run_yaml, tuple(parsed(line)["overrides"] or ()))


def test_the_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make (\w+)", "\n".join(blocks("console"))))
    assert targets == {"demo", "test"}
    for target in targets | {"lint"}:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_extras_in_the_readme_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set(re.findall(r"llm4seg-probe\[(\w+)\]", README.read_text(encoding="utf-8")))
    assert named == {"ray", "loggers"}
    assert named <= project["optional-dependencies"].keys()


def test_the_configuration_in_the_readme_is_valid(run_yaml: Path) -> None:
    config = load_config(run_yaml)
    assert config.booster.source == "meta-llama/Llama-3.2-1B"
    assert config.data.image_size == (256, 256)


@pytest.mark.parametrize(
    "change",
    [
        "preset=reference",
        "preset=quick",
        "preset=nnunet-like",
        "data.classes=[liver,tumour]",
        "training.output=softmax",
        "data.sampling=patches",
        "data.spacing=[1,1]",
        "data.channels=2",
        "training.loggers={TensorBoardLogger: {}}",
        "compute.devices=2",
        "compute.nodes=2",
        "compute.sync_batchnorm=true",
        "backbone.name=my_package.networks:MyNet",
        "backbone.at=encoder5",
    ],
)
def test_the_fields_that_the_readme_names_exist(change: str, run_yaml: Path) -> None:
    load_config(run_yaml, (change,))
    text = re.sub(r"\s+", " ", README.read_text(encoding="utf-8"))
    assert change.partition("=")[0] in text


def test_the_study_in_the_readme_is_a_valid_analysis(tmp_path: Path) -> None:
    shutil.copytree(ANALYSES / "shared", tmp_path / "shared")
    path = tmp_path / "my-study.yaml"
    path.write_text(blocks("yaml")[1], encoding="utf-8")
    study = load_analysis(path).at("small")
    configs = study.configs()
    assert len(configs) == (3 + 1) * 5
    assert {config.data.name for config in configs} == {"my-data"}
    assert [claim.id for claim in study.claims] == ["my-boost"]


def test_the_table_of_probes_names_them_all() -> None:
    _, table = README.read_text(encoding="utf-8").split("| what it cannot show |\n", 1)
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", table.split("\n\n")[0], re.M)
    assert [name for name, _, _ in rows] == list(PROBES)


def test_the_analyses_are_all_described_with_their_claims_and_margins() -> None:
    text = (ANALYSES / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`(.+?)\.yaml`\]\(\1\.yaml\) \| (.+) \|$", text, re.M))
    assert rows.keys() == {path.stem for path in ANALYSES.glob("*.yaml")}
    for name, row in rows.items():
        for claim in read_yaml(ANALYSES / f"{name}.yaml").get("claims", []):
            assert re.search(rf"`{claim['id']}` \({claim['margin']:g}\b", row), (name, claim["id"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.parent.name)
def test_what_is_linked_is_there(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text(encoding="utf-8"))
    assert links
    for link in links:
        assert (document.parent / link).exists(), link


@pytest.mark.slow
def test_the_python_in_the_readme_runs() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(2, 256, 256, dtype=torch.bool)
    masks[:, 100:150, 80:160] = True
    names = {"cnn": CMUNeXt(3, 1), "images": torch.randn(2, 3, 256, 256), "masks": masks}
    before = {key: value.clone() for key, value in names["cnn"].state_dict().items()}
    (block,) = blocks("python")
    assert len(block.splitlines()) <= 10
    exec(block, names)
    for tokens in (names["plain"]["encoder5"], names["recording"]["after"]):
        assert names["lp"].effective_rank(tokens).shape == (2,)
    assert names["recording"].grid("after") == (16, 16)
    learnt = {key: value for key, value in before.items() if "running" not in key}
    learnt = {key: value for key, value in learnt.items() if "num_batches" not in key}
    assert all(torch.equal(value, names["cnn"].state_dict()[key]) for key, value in learnt.items())
    assert names["network"] is not names["cnn"]
