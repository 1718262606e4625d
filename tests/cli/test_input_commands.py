import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.training.fit import train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> list[Path]:
    """Checkpoints of the plain CNN and the llm arm, after one epoch."""
    folder = tmp_path_factory.mktemp("runs")
    training = tiny_config.training.model_copy(update={"epochs": 1})
    return [
        train(
            tiny_config.model_copy(update={"arm": arm, "training": training}), folder / f"{arm}-0"
        )
        for arm in ("cnn", "llm")
    ]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command ends in exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "options", "table", "drawn"),
    [
        (
            "attribute",
            ("--site", "input,after", "--method", "integrated-gradients,gradcam", "--target",
             "mask", "--steps", 3, "--images", 2),
            "attribute.csv",
            {"attribution", "attribution-maps"},
        ),
        ("field", ("--images", 3), "field.csv", {"field"}),
        ("robustness", ("--corruptions", "noise,jpeg"), "robustness.csv", {"robustness"}),
    ],
)  # fmt: skip
def test_a_command_writes_table_arrays_and_figures(
    runs: list[Path], tmp_path: Path, command: str, options: tuple, table: str, drawn: set[str]
) -> None:
    pattern = runs[0].parent.parent / "*" / "run.pt"
    result = invoke(command, "--ckpt", pattern, *options, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {Path(figure).stem for figure in found["figures"]} == drawn
    assert all(Path(figure).stat().st_size > 1000 for figure in found["figures"])
    assert Path(found["table"]) == tmp_path / table
    frame = pd.read_csv(tmp_path / table)
    assert set(frame["arm"]) == {"cnn", "llm"}
    assert len(found["rows"]) == len(frame)
    stored = (tmp_path / table).with_suffix(".npz")
    if command != "robustness":
        with np.load(stored, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype.kind in "Uifu" for name in arrays.files)


def test_robustness_begins_with_the_scores_that_training_wrote(
    runs: list[Path], tmp_path: Path
) -> None:
    result = invoke("robustness", "--ckpt", runs[1], "--corruptions", "blur", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    written = pd.read_csv(runs[1].parent / "scores.csv")
    written = written[(written["checkpoint"] == "best") & (written["split"] == "test")]
    found = pd.read_csv(tmp_path / "robustness.csv")
    found = found[found["strength"] == 0]
    for score in ("iou", "dice"):
        assert found[score].to_list() == written[score].to_list()
    assert " 0 " in result.stdout


def test_bad_input_is_refused_in_one_line(runs: list[Path], tmp_path: Path) -> None:
    out = ("--ckpt", runs[0], "--out", tmp_path)
    assert "unknown site 'aftr'. Did you mean 'after'?" in refused(
        "attribute", *out, "--site", "aftr"
    )
    assert "unknown method 'occlude'. Did you mean 'occlusion'?" in refused(
        "attribute", *out, "--method", "occlude"
    )
    assert "unknown baseline 'black'. Valid: zero, mean" in refused(
        "attribute", *out, "--baseline", "black"
    )
    assert "unknown site 'logit'. Did you mean 'logits'?" in refused(
        "field", *out, "--sites", "logit"
    )
    assert "unknown corruption 'fog'" in refused("robustness", *out, "--corruptions", "fog")
    assert not list(tmp_path.iterdir())
