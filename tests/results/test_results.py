"""Results as objects: the same as the commands give, with a table, words, a plot and files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import matplotlib
import numpy as np
import pandas as pd
import pytest
import studies
from matplotlib import pyplot
from matplotlib.axes import Axes
from PIL import Image
from typer.testing import CliRunner

import llm4seg_probe as lp
from llm4seg_probe.cli.app import app
from llm4seg_probe.errors import CheckpointError, ConfigError, TableError, UserError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.base import Probe
from llm4seg_probe.results.result import Result
from llm4seg_probe.tables import read_table

STUDY = Path(__file__).parents[1] / "stored" / "study"


@pytest.fixture(autouse=True)
def _nothing_is_left_in_the_current_folder(tmp_path_factory, monkeypatch: pytest.MonkeyPatch):
    here = tmp_path_factory.mktemp("current")
    monkeypatch.chdir(here)
    matplotlib.use("agg")
    yield
    pyplot.close("all")
    assert not list(here.iterdir())


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two arms against a baseline, five paired seeds, twelve cases."""
    scores = studies.per_case({"cnn": 0.0, "llm": 0.01, "adapters": 0.0}, cases=12)
    path = tmp_path_factory.mktemp("table") / "scores.csv"
    scores[["arm", "seed", "image", "iou"]].to_csv(path, index=False)
    return path


def commanded(*words: object) -> dict[str, object]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == 0, result.output + result.stderr
    return json.loads(result.stdout)


def is_whole(found: Result, folder: Path, *, figure: bool = True) -> None:
    """It has what every result has, and writes only when it is told to."""
    assert isinstance(found.table, pd.DataFrame)
    assert isinstance(found.summary, pd.DataFrame)
    assert all(isinstance(sentence, str) for sentence in found.sentences)
    shown = found._repr_html_()
    assert "<table" in shown
    assert ("data:image/png;base64," in shown) == figure
    if figure:
        axes = found.plot()
        first = axes if isinstance(axes, Axes) else axes.flat[0]
        assert first.figure is pyplot.gcf()
    assert all(path.is_file() for path in found.save(folder))


@pytest.mark.parametrize("name", ["rank", "maps"])
def test_a_probe_of_runs_gives_the_table_of_its_command(
    name: str, trained: dict[str, Path], tmp_path: Path
) -> None:
    paths = [trained["cnn-0"], trained["llm-0"]]
    found = getattr(lp, name)(paths)
    options = [word for path in paths for word in ("--ckpt", path)]
    told = commanded(name, *options, "--out", tmp_path / "told")
    written = read_table(Path(str(told["table"])), registry.find(name).schema)
    pd.testing.assert_frame_equal(found.table, written, check_dtype=False)
    is_whole(found, tmp_path / "saved")


def test_runs_may_be_given_open_by_path_by_glob_or_as_a_set(trained: dict[str, Path]) -> None:
    path = trained["cnn-0"]
    whole = lp.runs(str(path.parent.parent / "*" / "run.pt"))
    assert len(whole) == len(trained)
    chosen = whole.where(arm="cnn")
    expected = lp.field(path, n_images=2).table
    for what in (lp.load(path), path.parent, [str(path)], str(path.parent / "*.pt"), chosen):
        if what == str(path.parent / "*.pt"):
            continue  # last.pt is no run
        assert lp.field(what, n_images=2).table.equals(expected)


def test_a_set_of_runs_is_a_table_that_can_be_chosen_from(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    found = lp.runs([path.parent for path in trained.values()])
    assert list(found.table["arm"]) == [name.rpartition("-")[0] for name in trained]
    assert found.table["test_iou"].between(0, 1).all()
    assert found.best().name == found.table.loc[found.table["val_iou"].idxmax(), "run"]
    assert [run.arm for run in found.where(arm="llm")] == ["llm", "llm"]
    with pytest.raises(CheckpointError, match="none of the 5 runs has arm=mlp"):
        found.where(arm="mlp")
    with pytest.raises(CheckpointError, match="does not exist"):
        lp.runs("nowhere/*/run.pt")
    is_whole(found, tmp_path)


def test_a_run_is_trained_into_memory_and_saved_when_told(tiny_config, tmp_path: Path) -> None:
    trained = lp.train(tiny_config, arm="cnn", overrides={"training.epochs": 1})
    assert (trained.run.arm, len(trained.history)) == ("cnn", 1)
    assert any("Test IoU" in sentence for sentence in trained.sentences)
    is_whole(trained, tmp_path / "run")
    assert lp.load(tmp_path / "run" / "run.pt").arm == "cnn"
    with pytest.raises(UserError, match="holds something already"):
        trained.save(tmp_path / "run")
    with pytest.raises(ConfigError, match="unknown field 'epoch'"):
        lp.train(tiny_config, overrides={"training.epoch": 1})


def test_a_network_that_answers_the_same_everywhere_is_told_of(tiny_config) -> None:
    trained = lp.train(
        tiny_config, arm="cnn",
        overrides={"training.epochs": 1, "training.optimiser.lr": 1e-12,
                   "evaluation.threshold": 0.999},
    )  # fmt: skip
    assert trained.sentences[0].startswith("This run has learned nothing: every pixel of ")


def test_predictions_are_masks_in_memory_and_those_of_the_command(
    trained: dict[str, Path], tiny_data: Path, tmp_path: Path
) -> None:
    found = lp.predict(trained["cnn-0"], tiny_data)
    options = ("--ckpt", trained["cnn-0"], "--images", tiny_data, "--out", tmp_path / "told")
    commanded("predict", *options)
    name, mask = next(iter(found.masks.items()))
    written = np.asarray(Image.open(tmp_path / "told" / f"{name}.png")) > 0
    assert np.array_equal(mask[0], written)
    assert len(found) == 40
    assert found.overlay(name).width == 512
    is_whole(found, tmp_path / "saved")


def test_scores_of_runs_are_those_of_the_command(trained: dict[str, Path], tmp_path: Path) -> None:
    found = lp.evaluate(trained["cnn-0"], split="val")
    words = ("--ckpt", trained["cnn-0"], "--split", "val", "--out", tmp_path / "told")
    rows = pd.DataFrame(commanded("evaluate", *words)["rows"])
    assert found.table["iou"].tolist() == pytest.approx(rows["iou"].tolist(), rel=1e-9)
    assert found.summary["iou"].tolist() == pytest.approx([rows["iou"].mean()], rel=1e-9)
    is_whole(found, tmp_path / "saved", figure=False)
    for opened in (lp.load(trained["cnn-0"]), lp.runs(trained["cnn-0"])):
        assert lp.evaluate(opened, split="val").table.equals(found.table)
    with pytest.raises(UserError, match="a int is no run: give one"):
        lp.evaluate(3)


def test_a_folder_of_reports_that_is_not_there_is_refused_before_any_training(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such folder of reports"):
        lp.paper.figure("maps", reports=tmp_path / "nowhere")


def test_what_a_run_costs_is_known_without_running_it(tiny_config, tmp_path: Path) -> None:
    found = lp.show(tiny_config)
    assert {"encoder", "adapters", "layer"} <= set(found.table["part"])
    assert "logits" in set(found.shapes["site"])
    is_whole(found, tmp_path)


def test_compare_is_a_table_and_a_result_in_one(table: Path, tmp_path: Path) -> None:
    found = lp.compare(pd.read_csv(table), bootstrap=200)
    assert isinstance(found, pd.DataFrame)
    assert isinstance(found, Result)
    for part in (found[["a", "b"]], found[found["a"] == "llm"], found.copy(), found.iloc[:1]):
        assert type(part) is pd.DataFrame
    assert len(found.sentences) == 2
    pairs = zip(found["a"], found.sentences, strict=True)
    assert all(arm in said and "cnn" in said for arm, said in pairs)
    assert found.plot().figure is pyplot.gcf()
    assert type(found.plot.bar(x="a", y="difference")).__name__ == "Axes"
    assert found.plot(kind="scatter", x="mean_a", y="mean_b").get_xlabel() == "mean_a"
    is_whole(found, tmp_path)


def test_compare_gives_the_same_for_a_file_a_frame_and_the_command(
    table: Path, tmp_path: Path
) -> None:
    frame = lp.compare(pd.read_csv(table), bootstrap=200)
    file = lp.compare(table, bootstrap=200)
    pd.testing.assert_frame_equal(frame.table, file.table)
    told = commanded("compare", table, "--bootstrap", 200, "--out", tmp_path)
    written = pd.read_csv(str(told["table"]), keep_default_na=False, na_values=[""])
    assert list(written["difference"]) == list(file["difference"])
    assert [row["verdict"] for row in told["rows"]] == list(file["verdict"])
    assert {match.role for match in file.matches} >= {"arm", "seed", "case", "score"}


def test_plan_gives_the_same_for_a_file_a_frame_and_the_command(
    table: Path, tmp_path: Path
) -> None:
    frame, file = lp.plan(pd.read_csv(table)), lp.plan(table)
    pd.testing.assert_frame_equal(frame.table, file.table)
    pd.testing.assert_frame_equal(frame.curve, file.curve)
    told = commanded("plan", table, "--out", tmp_path / "told")
    written = pd.read_csv(told["files"]["curve"], keep_default_na=False)
    pd.testing.assert_frame_equal(written, file.curve, check_dtype=False)
    assert [row["sentence"] for row in told["rows"]] == list(file.sentences)
    is_whole(file, tmp_path / "saved")


def test_audit_gives_the_same_for_a_file_and_the_command(table: Path, tmp_path: Path) -> None:
    found = lp.audit(table, bootstrap=200)
    told = commanded("audit", table, "--out", tmp_path / "told")
    assert [row["difference"] for row in told["rows"]] == pytest.approx(
        list(found.table["difference"])
    )
    assert [test.name for test in found.tests if test.allowed]
    assert found.sentences[0] == found.design.sentence
    is_whole(found, tmp_path / "saved")
    assert (tmp_path / "saved" / "index.html").is_file()


def test_a_file_that_is_no_table_is_refused(table: Path) -> None:
    with pytest.raises(TableError, match="no such table"):
        lp.compare("nowhere.csv")
    with pytest.raises(TableError, match="not a int"):
        lp.compare([1])
    with pytest.raises(ConfigError, match="arm=None"):
        lp.compare(table, arm=None)


def test_data_are_checked_split_opened_and_listed_as_by_the_commands(
    tiny_data: Path, tmp_path: Path
) -> None:
    checked = lp.data.check(tiny_data)
    told = commanded("data", "check", tiny_data, "--out", tmp_path / "told")
    assert told["errors"] == checked.errors == 0
    pd.testing.assert_frame_equal(
        pd.read_csv(str(told["table"])), pd.read_csv(checked.save(tmp_path / "saved")[0])
    )
    is_whole(checked, tmp_path / "again")
    drawn = lp.data.split(tiny_data, folds=4)
    assert drawn.table.groupby("split").size().eq(40).all()
    is_whole(drawn, tmp_path / "split", figure=False)
    opened = lp.data.open(tiny_data)
    assert len(opened) == 40
    images, masks = opened.images(3, size=(32, 32))
    assert images.shape == masks.shape == (3, 1, 32, 32)
    is_whole(opened, tmp_path / "opened")
    assert {"spine", "busi"} <= set(lp.data.list().table["name"])


def test_a_module_of_the_package_does_not_hide_the_calls_of_data() -> None:
    code = (
        "import llm4seg_probe.data.checks, llm4seg_probe.data.splits\nimport llm4seg_probe as lp\n"
        "assert all(callable(getattr(lp.data, name)) for name in lp.data.__all__)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_lists_are_those_of_the_command() -> None:
    told = commanded("list", "arms")
    found = lp.list("arms")
    assert dict(zip(found.table["name"], found.table["description"], strict=True)) == told
    with pytest.raises(UserError, match="Did you mean 'arms'"):
        lp.list("arm")
    with pytest.raises(UserError, match="has no figure"):
        found.plot()


def test_a_folder_of_results_is_read_as_the_page_shows_it(tmp_path: Path) -> None:
    study = lp.read(STUDY)
    claims = pd.read_csv(STUDY / "claims.csv", keep_default_na=False)
    assert list(study.verdicts["claim"]) == list(claims["claim"])
    assert set(study.conditions["name"]) == set(study.scores["arm"])
    assert study.cases().shape[1] == 2 + study.scores["arm"].nunique()
    assert {"epoch", "val_iou", "arm"} <= set(study.curves)
    assert study.plot("paired").figure is pyplot.gcf()
    with pytest.raises(UserError, match="unknown figure 'nothing'"):
        study.plot("nothing")
    is_whole(study, tmp_path)
    assert (tmp_path / "index.html").is_file()
    with pytest.raises(ConfigError, match="is no folder of results"):
        lp.read("nowhere")


def test_a_probe_of_a_folder_of_results_is_as_it_was_taken() -> None:
    study = lp.read(STUDY)
    for name, folder in (("rank", STUDY), ("maps", STUDY), ("field", STUDY / "field")):
        found = study.probe(name)
        schema = registry.find(name).schema
        pd.testing.assert_frame_equal(found.table, read_table(folder / schema.name, schema))
        assert found.plot(next(iter(found.figures()))) is not None
    assert list(study.probe("maps").figures()) == ["activation-iou", "gallery"]
    with pytest.raises(TableError, match=r"has no lens\.csv: lens was not taken"):
        study.probe("lens")


def test_a_folder_of_the_name_of_an_analysis_does_not_stand_in_its_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    found = lp.sweep("demo", size="quick", runs=tmp_path / "runs", dry_run=True, workers=1)
    assert found.totals["planned"] == 4


def test_a_sweep_is_forecast_without_a_folder_and_made_in_one(tmp_path: Path) -> None:
    found = lp.sweep("demo", size="quick", runs=tmp_path, dry_run=True, workers=1)
    assert found.totals["planned"] == len(found.table) == 4
    is_whole(found, tmp_path / "forecast", figure=False)
    with pytest.raises(ConfigError, match="say where to"):
        lp.sweep("demo", size="quick")


def test_a_style_of_ones_own_figures_is_put_back() -> None:
    before = dict(matplotlib.rcParams)
    with lp.style():
        assert not matplotlib.rcParams["axes.spines.top"]
    assert dict(matplotlib.rcParams) == before


def test_every_probe_is_a_call_those_of_other_packages_too(monkeypatch) -> None:
    mine = Probe("mine", "x", "what is mine", "nothing", "much", registry.PROBES[0].schema)
    monkeypatch.setattr(registry, "installed", lambda: ({"mine": mine}, {}))
    assert {"mine", "rank", "swap"} <= set(dir(lp))
    assert lp.mine.__doc__.startswith("Measure what is mine.")
    assert list(lp.rank.__signature__.parameters)[:3] == ["what", "images", "masks"]
    with pytest.raises(AttributeError, match="no attribute 'yours'"):
        _ = lp.yours


def test_importing_the_package_is_cheap_and_editors_see_every_name() -> None:
    heavy = ("torch", "pandas", "numpy", "matplotlib", "transformers", "lightning")
    code = f"import sys, llm4seg_probe\nprint([name for name in {heavy} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
    stubs = Path(lp.__file__).read_text(encoding="utf-8").partition("if TYPE_CHECKING:")[2]
    stubs = stubs.partition("_PROBES = ")[0]
    for name in lp.__all__[1:]:
        assert f" as {name}\n" in stubs or f"    {name} = " in stubs, name
    assert get_type_hints(lp.load)
