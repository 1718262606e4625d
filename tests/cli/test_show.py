import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, load_config, to_yaml
from llm4seg_probe.models.network import build_network
from llm4seg_probe.study.forecast import preview


def show(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["show", *map(str, arguments)])


@pytest.fixture
def config_file(tiny_config: Config, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(tiny_config))
    return path


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    path = tmp_path / "papers.yaml"
    path.write_text(
        "{arm: llm, data: {image_size: [256, 256], channels: 3},"
        " booster: {source: meta-llama/Llama-3.2-1B}}"
    )
    return path


def test_json_is_what_the_one_call_gives(config_file: Path, tiny_config: Config) -> None:
    result = show(config_file, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found == preview(load_config(config_file)).to_dict()
    (total,) = [row for row in found["parts"] if row["part"] == "total"]
    network = build_network(tiny_config)
    assert total["parameters"] == sum(p.numel() for p in network.parameters())
    assert total["flops"] == 2 * total["macs"]
    assert total["parameters"] == total["trainable"] + total["frozen"]
    assert found["sites"]["tokens"] == [4, 32]
    assert found["batch_size"] == tiny_config.training.batch_size
    assert "time" not in found


def test_the_paper_stands_beside_ours_without_weights_or_account(papers: Path) -> None:
    text = show(papers).stdout
    assert "60,821,504" in text
    assert "15.84 G" in text
    assert "macs of the booster: 16,000,000,000, here 16,106,127,360 (ratio 1.007)" in text
    assert "arXiv 2506.18034" in text
    assert "No sign of failure" in text


def test_fields_are_overridden_and_signs_of_failure_told(papers: Path) -> None:
    result = show(papers, "data.image_size=[512,512]")
    assert result.exit_code == 0, result.output
    assert "logits      1 x 512 x 512" in result.stdout
    assert "lower data.image_size, name a coarser module in backbone.at" in result.stdout
    assert "No sign of failure" not in result.stdout


def test_a_setting_that_nobody_published_says_so(config_file: Path) -> None:
    assert "Nobody has published numbers of this setting" in show(config_file).stdout


def test_time_is_that_of_real_steps_on_the_runs_own_data(
    config_file: Path, tiny_config: Config
) -> None:
    found = json.loads(show(config_file, "--time", "--json").stdout)["time"]
    images = 40 * 6 // 10  # the share of the split that trains
    batches = -(-images // tiny_config.training.batch_size)
    assert found["steps"] == tiny_config.training.epochs * batches
    assert found["seconds_per_step"] > 0
    assert found["seconds"] == found["seconds_per_step"] * found["steps"]
    assert "A training step took" in show(config_file, "--time").stdout


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["backbone.name=cmunxt"], "Did you mean 'cmunext'"),
        (["data.image_size=[40,40]"], "backbone cmunext needs multiples of 16"),
        (["booster.layer=9"], "layer is 9, but .* has 4 layers. Choose 1 to 4"),
        (["booster.source=nowhere/at/all"], "no such folder: nowhere/at/all"),
        (["booster.lyer=3"], "Did you mean 'layer'"),
        (["seed"], "'seed' is not an override"),
    ],
)
def test_bad_input_is_one_line(config_file: Path, overrides: list[str], message: str) -> None:
    result = show(config_file, *overrides)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    with pytest.raises(ValueError, match=message):
        raise ValueError(line)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = show(tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert "no such file" in result.stderr


def test_train_ends_with_the_signs_of_failure_that_its_run_shows(
    config_file: Path, tmp_path: Path
) -> None:
    arguments = ["train", str(config_file), "--out", str(tmp_path / "run"), "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert Path(found["checkpoint"]).is_file()
    assert found["signatures"] == []  # two epochs are too few to see a gap grow
    assert re.search(r"epoch 1 of 2, loss \d.*, validation IoU \d.*best .* left", result.stderr)
    assert re.search(r"epoch 2 of 2, loss \d.*in epoch [12]\)$", result.stderr, re.M)
    assert found["learned"][-1].startswith("Best of 2 epochs: ")
