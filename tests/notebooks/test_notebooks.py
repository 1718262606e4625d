"""The notebooks as they are stored, and each run from top to bottom at toy scale."""

from __future__ import annotations

import ast
import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from omegaconf import OmegaConf
from PIL import Image
from store import executed as executed_as_stored

from llm4seg_probe.config import Config
from llm4seg_probe.paper.results import results_for
from llm4seg_probe.study.engines.local import LocalEngine

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
LOCAL_PATH = re.compile(r"(?<![\w.`/])/(?:home|root|work|tmp|Users|mnt|data)\b|[A-Z]:\\|~/")
LONGEST_CELL = 22
LONGEST = {"02": 12, "03": 12, "04": 12, "05": 12, "06": 18}
"""Lines of code that the notebooks on our own results may have."""
COMMON = {"captum", "matplotlib", "numpy", "pandas", "torch"}
TIME = re.compile(r"\b\d{1,2}:\d{2}\b|\bCPU times\b|0x[0-9a-f]{6,}")
REPRODUCED = [path for path in PATHS if path.stem[:2] in ("02", "03", "04", "05", "06")]
"""Those whose numbers come from tables in this repository; the others compute on the machine."""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_there_is_one_for_each_figure_in_order() -> None:
    assert [path.stem.partition("-")[0] for path in PATHS] == [f"{n:02d}" for n in range(1, 8)]


@EACH
def test_it_is_stored_as_a_reader_should_find_it(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z-]+", name) for name in ids)
    assert notebook.cells[0].source.startswith(f"# {int(path.stem[:2])}. ")
    assert ids[-2:] == ["end-text", "end"]
    assert notebook.cells[-2].source.startswith("## What it showed here, and whether the paper")
    for cell in notebook.cells:
        assert not LOCAL_PATH.search(cell.source), cell.id
        if cell.cell_type == "code":
            assert cell.source.count("\n") < LONGEST_CELL, cell.id
    tagged = [cell.id for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert tagged[0] == "parameters"


@EACH
def test_it_is_stored_with_outputs_that_name_no_place_and_no_time(path: Path) -> None:
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    plots = [cell for cell in code if ".plot(" in cell.source or "pyplot" in cell.source]
    assert sum(any("image/png" in shown for shown in data(cell)) for cell in plots) > 0
    for cell in code:
        for shown in data(cell):
            for kind, text in shown.items():
                if kind != "image/png":
                    assert not LOCAL_PATH.search(text), (cell.id, text)
                    assert not TIME.search(text), (cell.id, text)
        assert all(each.get("name") != "stderr" for each in cell.outputs), cell.id
    assert data(code[-1]), "the last cell says what it showed"


@EACH
def test_it_imports_the_public_names_and_common_libraries_only(path: Path) -> None:
    code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    tree = ast.parse("\n".join(line for source in code for line in source.rstrip(";").split("\n")))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    ours = {name for name in imported if name.startswith("llm4seg_probe")}
    assert ours == {"llm4seg_probe"}
    assert {name.partition(".")[0] for name in imported - ours} <= COMMON
    lines = [line for source in code for line in source.split("\n") if line.strip()]
    assert len(lines) <= LONGEST.get(path.stem[:2], 90)


def data(cell: Any) -> list[dict[str, str]]:
    """What a cell shows, by kind; printed text as plain text."""
    return [
        {"text/plain": each.text} if each.output_type == "stream" else dict(each.data)
        for each in cell.outputs
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", REPRODUCED, ids=lambda path: path.stem)
def test_it_shows_the_same_when_it_is_run_again(path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")
    again = executed_as_stored(path)
    for stored, new in zip(read(path).cells, again.cells, strict=True):
        if stored.cell_type != "code":
            continue
        for before, after in zip(data(stored), data(new), strict=True):
            assert before.keys() == after.keys(), stored.id
            for kind in before:
                if kind == "image/png":
                    assert_alike(before[kind], after[kind], stored.id)
                else:
                    assert before[kind] == after[kind], stored.id


def assert_alike(before: str, after: str, name: str) -> None:
    """The same picture, but for what another build of a font or of numpy does to single pixels."""
    one, other = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("L"), float)
        for text in (before, after)
    )
    assert one.shape == other.shape, name
    assert np.abs(one - other).mean() < 1, name


def test_local_paths_are_recognised() -> None:
    for text in ("Path('/home/me/x')", '"/tmp/x"', "C:\\data", "~/reports"):
        assert LOCAL_PATH.search(text), text
    for text in ("`reports/` and/or data", "1 / data", "https://example.org/data"):
        assert not LOCAL_PATH.search(text), text


@pytest.fixture(scope="module")
def toys(
    tiny_config: Config, tiny_llm: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """Values of the parameters at toy scale, with results made for them once."""
    folder = tmp_path_factory.mktemp("toys")
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    base["training"] |= {"epochs": 3, "batch_size": 2, "optimiser": {"name": "adamw", "lr": 2e-2}}
    values = {
        "name": "toys", "title": "Toys", "question": "Does it run?", "rests_on": "Nothing.",
        "base": base,
        "factors": {"arm": ["cnn", "llm"], "seed": [0, 1, 2]},
        "further": [{"arm": ["llm", "llm-trainable"], "booster.layer": [1]}],
        "sizes": {"quick": {}}, "probes": {"gallery": 2},
    }  # fmt: skip
    analysis = folder / "toys.yaml"
    OmegaConf.save(OmegaConf.create(values), analysis)
    results_for(analysis, reports=folder / "reports", engine=LocalEngine(workers=1))
    return {
        "REPORTS": folder / "reports",
        "ANALYSIS": analysis,
        "SOURCE": str(tiny_llm),
        "LAYER": 3,
        "DATA": str(tiny_data),
        "SIZE": 32,
        "IMAGES": 3,
        "STEPS": 2,
    }


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookClient]:
    """One kernel for all notebooks, in an empty folder: imports are most of what they cost."""
    place = {"metadata": {"path": str(tmp_path_factory.mktemp("kernel"))}}
    shared = NotebookClient(nbformat.v4.new_notebook(), timeout=150, resources=place)
    with shared.setup_kernel():
        yield shared


def executed(client: NotebookClient, notebook: Any, values: dict[str, Any]) -> Any:
    """The notebook with outputs; ``values`` are set after each cell tagged ``parameters``."""
    lines = ["from pathlib import Path"]
    for name, value in values.items():
        written = f"Path({str(value)!r})" if isinstance(value, Path) else repr(value)
        lines.append(f"{name} = {written}")
    cells = [nbformat.v4.new_code_cell("%reset -f")]
    for cell in notebook.cells:
        cells.append(cell)
        if "parameters" in cell.metadata.get("tags", ()):
            cells.append(nbformat.v4.new_code_cell("\n".join(lines)))
    client.nb = nbformat.v4.new_notebook(cells=cells)
    client.reset_execution_trackers()
    for index, cell in enumerate(cells):
        client.execute_cell(cell, index)
    return client.nb


@pytest.mark.slow
@EACH
def test_it_runs_from_top_to_bottom_and_says_what_it_showed(
    path: Path, client: NotebookClient, toys: dict[str, Any]
) -> None:
    notebook = executed(client, read(path), toys)
    last = data(notebook.cells[-1])[-1]
    text = last.get("text/markdown", last["text/plain"])
    if "lp.paper.figure(" in "".join(cell.source for cell in notebook.cells):
        assert re.search(
            r"^- .*\*\*(seen here too|the other way|no diff|these runs|not )", text, re.M
        )
        assert "*What this rests on.* Nothing." in text
        find = next(cell for cell in notebook.cells if cell.get("id") == "find")
        assert "`toys-quick`" in find.outputs[-1].data["text/markdown"]
    else:
        assert text.strip()
    assert "nan" not in text.lower()
    plots = [cell for cell in notebook.cells if ".plot(" in cell.source]
    assert plots
    assert all(any("image/png" in shown for shown in data(cell)) for cell in plots)
