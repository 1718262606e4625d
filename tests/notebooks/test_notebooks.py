"""The notebooks as they are stored, and each run from top to bottom at toy scale."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from omegaconf import OmegaConf

from llm4seg_probe.config import Config
from llm4seg_probe.study.finding import results_for
from llm4seg_probe.sweeps.local import LocalEngine

PATHS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
LOCAL_PATH = re.compile(r"(?<![\w.`/])/(?:home|root|work|tmp|Users|mnt|data)\b|[A-Z]:\\|~/")
LONGEST_CELL = 22


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
            assert not cell.outputs, cell.id
            assert cell.execution_count is None
            assert cell.source.count("\n") < LONGEST_CELL, cell.id
    tagged = [cell.id for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    assert tagged[0] == "parameters"


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
    text = notebook.cells[-1].outputs[-1].data["text/markdown"]
    if "found = results_for" in "".join(cell.source for cell in notebook.cells):
        assert re.search(
            r"^- .*\*\*(seen here too|the other way|no diff|these runs|not )", text, re.M
        )
        assert "*What this rests on.* Nothing." in text
        find = next(cell for cell in notebook.cells if cell.get("id") == "find")
        assert "`toys-quick`" in find.outputs[-1].data["text/markdown"]
    else:
        assert text.strip().startswith("- **")
    assert "nan" not in text.lower()
    figures = sorted((toys["REPORTS"] / "notebooks").glob(f"{path.stem[:2]}-*"))
    drawn = "".join(cell.source for cell in notebook.cells).count("Image(kept(")
    assert drawn > 0
    assert [figure.suffix for figure in figures] == [".png", ".svg"] * drawn
    assert all(figure.stat().st_size < 1_000_000 for figure in figures)
