"""The commands decode and lens on runs that were trained."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.errors import DataError
from llm4seg_probe.study.single.decode import sides_of
from llm4seg_probe.tables import DECODE, LENS, LENS_WORDS, read_table
from llm4seg_probe.training.fit import train
from llm4seg_probe.training.run import load


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_config: Config) -> list[Path]:
    """Checkpoints of the plain CNN and the llm arm, after one epoch."""
    folder = tmp_path_factory.mktemp("decoded")
    training = tiny_config.training.model_copy(update={"epochs": 1})
    return [
        train(
            tiny_config.model_copy(update={"arm": arm, "training": training}), folder / f"{arm}-0"
        )
        for arm in ("cnn", "llm")
    ]


@pytest.fixture(scope="module")
def spoken_llm(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny language model with a tokenizer beside it."""
    folder = tmp_path_factory.mktemp("spoken") / "llm"
    shutil.copytree(tiny_llm, folder)
    words = {f"w{number}": number for number in range(50)}
    Tokenizer(WordLevel(words, unk_token="w0")).save(str(folder / "tokenizer.json"))
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.strip().splitlines() if "left out" not in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_decode_writes_its_table_and_figures(runs: list[Path], tmp_path: Path) -> None:
    pattern = runs[0].parent.parent / "*" / "run.pt"
    result = invoke("decode", "--ckpt", pattern, "--images", "2", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    table = read_table(tmp_path / "decode.csv", DECODE)
    run = load(runs[1])
    assert set(table["arm"]) == {"cnn", "llm"}
    assert set(table["image"]) == {"", *run.split.test}
    assert set(table["training_images"]) == {2, len(run.split.train)}
    assert set(table["null"]) == {"", "position", "other-image", "untrained"}
    assert "position" in result.stdout
    assert str(tmp_path / "decode.csv") in result.stdout
    for name in ("decode", "decode-images"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 1000


def test_lens_writes_its_tables_and_says_what_they_are_worth(
    runs: list[Path], spoken_llm: Path, tmp_path: Path
) -> None:
    pattern = runs[0].parent.parent / "*" / "run.pt"
    out = ("--source", spoken_llm, "--out", tmp_path)
    result = invoke("lens", "--ckpt", pattern, *out)
    assert result.exit_code == 0, result.output
    assert "cnn-0 left out: there is no decoder layer in arm 'cnn'" in result.stderr
    table = read_table(tmp_path / "lens.csv", LENS)
    words = read_table(tmp_path / "lens-words.csv", LENS_WORDS)
    assert set(table["arm"]) == set(words["arm"]) == {"llm"}
    assert words["word"].str.fullmatch(r"'w\d+'").all()
    assert (table["dataset"] == words["dataset"].iloc[0]).all()
    said = result.stdout.strip().splitlines()[-1]
    assert said.startswith("llm-0, layer: ")
    # The discs are smaller than the cells of the tokens: no token is foreground.
    assert said.endswith(
        "too few images with foreground tokens for a null; read nothing into them."
    )
    as_json = json.loads(invoke("lens", "--ckpt", runs[1], *out, "--json").stdout)
    assert as_json["sentences"] == [said]
    assert len(as_json["rows"]) == len(table)
    assert all(Path(path).is_file() for path in as_json["figures"])


def test_what_cannot_be_done_is_refused_in_one_line(
    runs: list[Path], tiny_data: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path)
    assert "--images is 'few': give numbers of training images, such as 1,4,16" in refused(
        "decode", "--ckpt", runs[0], "--images", "few", *out
    )
    assert "unknown split 'train'" in refused("decode", "--ckpt", runs[0], "--split", "train", *out)
    assert "there is no decoder layer in the arms of these checkpoints: give one" in refused(
        "lens", "--ckpt", runs[0], *out
    )
    assert "holds no tokenizer.json" in refused("lens", "--ckpt", runs[1], *out)
    assert list(tmp_path.iterdir()) == []


def test_penalties_are_never_chosen_on_the_images_that_are_tested(
    runs: list[Path], tiny_data: Path
) -> None:
    run = load(runs[0])
    own = run.split
    assert sides_of(run) == {"train": own.train, "validation": own.val, "test": own.test}
    published = dataclasses.replace(own, val=own.test, validation_is_test=True)
    as_published = dataclasses.replace(run, split=published)
    for sides, tested in (
        (sides_of(run, "val"), own.val),
        (sides_of(as_published), own.test),
    ):
        assert sides["test"] == tested
        assert set(sides["train"]) | set(sides["validation"]) == set(own.train)
        assert not set(sides["train"]) & set(sides["validation"])
        assert len(sides["validation"]) == len(own.train) // 5  # every image is a group
    alone = dataclasses.replace(published, train=own.train[:1])
    with pytest.raises(DataError, match=r"all training images are of disc\d\d, so that none can"):
        sides_of(dataclasses.replace(run, split=alone))


def test_a_run_without_a_split_is_decoded_on_a_division_by_groups(
    runs: list[Path], tiny_data: Path
) -> None:
    run = load(runs[0])
    unknown = dataclasses.replace(run, split=dataclasses.replace(run.split, train=(), test=()))
    with pytest.raises(DataError, match="does not say which images it was trained on: add --data"):
        sides_of(unknown)
    first, second, again = (sides_of(unknown, data=tiny_data, split_seed=n) for n in (0, 1, 0))
    assert first == again != second
    assert sorted(len(images) for images in first.values()) == [8, 8, 24]


def test_the_table_of_the_command_is_one_call_in_python(runs: list[Path], tmp_path: Path) -> None:
    from llm4seg_probe.study.single.decode import decode_runs

    found = decode_runs([runs[1]], tmp_path / "python", sites=("layer",), sizes=())
    invoke("decode", "--ckpt", runs[1], "--sites", "layer", "--images", "", "--out", tmp_path)
    pd.testing.assert_frame_equal(found.table, read_table(tmp_path / "decode.csv", DECODE))
