import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, validated
from llm4seg_probe.models.cmunext import CMUNeXt

README = Path(__file__).parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.S)


COMMANDS = [
    line
    for block in blocks("console")
    for line in block.splitlines()
    if line.startswith("llm4seg-probe")
]


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_and_option_in_the_readme_exists(line: str) -> None:
    name, *rest = shlex.split(line, comments=True)[1:]
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    for option in (word for word in rest if word.startswith("--")):
        assert option in shown.output


def test_the_make_targets_in_the_readme_exist() -> None:
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make (\w+)", README.read_text(encoding="utf-8")))
    assert {"demo", "test", "lint"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_configuration_in_the_readme_is_valid() -> None:
    from omegaconf import OmegaConf

    (block,) = blocks("yaml")
    values = OmegaConf.to_container(OmegaConf.create(block))
    assert isinstance(values, dict)
    config = validated({str(key): value for key, value in values.items()}, Config, "README.md")
    assert config.booster.source == "meta-llama/Llama-3.2-1B"


@pytest.mark.slow
def test_the_python_in_the_readme_runs() -> None:
    torch.manual_seed(0)
    masks = torch.zeros(2, 256, 256, dtype=torch.bool)
    masks[:, 100:150, 80:160] = True
    names = {"cnn": CMUNeXt(3, 1), "images": torch.randn(2, 3, 256, 256), "masks": masks}
    before = {key: value.clone() for key, value in names["cnn"].state_dict().items()}
    (block,) = blocks("python")
    exec(block, names)
    rank = names["lp"].effective_rank(names["recording"]["after"])
    assert rank.shape == (2,)
    assert names["recording"].grid("after") == (16, 16)
    assert all(torch.equal(before[key], names["cnn"].state_dict()[key]) for key in before)
    assert names["network"] is not names["cnn"]
