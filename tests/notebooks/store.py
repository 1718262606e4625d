"""Run the notebooks and store them with their outputs: copies, or with --in-place themselves.

What depends on the machine and the hour (times, paths, warnings of libraries) is not stored.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
COPIES = Path("reports") / "notebooks" / "runs"


def cleaned(notebook: Any) -> Any:
    """The notebook without what is said on standard error, and without times."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    return notebook


def executed(path: Path) -> Any:
    """The notebook run from top to bottom in its own folder, cleaned."""
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(notebook, timeout=1800, resources=place, record_timing=False)
    return cleaned(client.execute())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as 04-rank; all unless given")
    parser.add_argument("--in-place", action="store_true")
    given = parser.parse_args()
    os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if given.names and path.stem not in given.names:
            continue
        target = path if given.in_place else COPIES / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(executed(path), target)
        print(target)


if __name__ == "__main__":
    main()
