"""Distances in the package: files, names, journeys, and what a new thing touches.

    python analyses/benchmarks/house.py [--runs FOLDER] [--out reports/benchmarks/house.csv]

Whatever ``llm4seg_probe`` is on the path of Python is measured: two trees can be compared. Prints
a table, and the names behind each number with ``--names``.

*Files* are the package's own ``.py`` files. *File names in three rooms* are those that lie in three
or more folders, without ``__init__``, ``table`` and ``figure``, which each probe has.

*Journeys* are traced: a command is really run, and every function of the package that is entered
counts, those that only run while a module is imported left out. A *hop* is the first entry into a
file. The foundation (errors, progress, storage, tables, configuration, …), which a reader knows
after the first journey, is left out, and ``data``, ``models`` and ``llm`` are one hop each: they
are entered by a door (``run.batches``, ``build_network``, ``load_decoder``), behind which another
journey begins. The files that are entered are given beside it, all of them. The three journeys:
``rank`` of two checkpoints, from the option to table and figure; ``compare`` of a stored
``scores.csv``; ``report``, from a stored folder of results to the page. ``--runs`` holds the run
folders of the first; without it two are trained (some ten seconds).

*Touched by a new thing* is found by the name of one that is there: files of the package and its
tests that name it in quotes, or lie in a folder or file of that name.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import re
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pandas as pd

import llm4seg_probe
from llm4seg_probe.storage import atomically

PACKAGE = Path(llm4seg_probe.__file__).parent
CHECKOUT = PACKAGE.parent
FOUNDATION = {
    "arms", "config", "errors", "fetching", "presets", "progress", "randomness", "reading",
    "storage", "tables", "yaml_files", "cli/app",
}  # fmt: skip
DOORS = {"data", "models", "llm"}
BY_DESIGN = {"__init__", "table", "figure"}
THINGS = {
    # What it is, an example that is there, and how the example is named where it is not quoted.
    "probe": ("robustness", "probes/robustness/"),
    "score": ("nsd", ""),
    "arm": ("mlp-only", ""),
    "claim kind": ("non-inferiority", ""),
    "layout": ("decathlon", "layouts/decathlon.py"),
}
"""A new one is counted as its example; ``nsd`` stands in messages too, which do not count."""
TARGETS = {
    "files": 245, "names in three rooms": 4, "hops of rank": 20, "files entered by compare": 15,
    "a probe touches": 6, "a score touches": 2, "an arm touches": 2, "a claim kind touches": 3,
}  # fmt: skip


def files() -> list[Path]:
    """The package's own Python files."""
    return sorted(PACKAGE.rglob("*.py"))


def names_in_three_rooms() -> list[str]:
    """File names that three or more folders have."""
    rooms = defaultdict(set)
    for path in files():
        rooms[path.stem].add(path.parent)
    return sorted(
        f"{name} ({len(folders)})"
        for name, folders in rooms.items()
        if len(folders) >= 3 and name not in BY_DESIGN
    )


class Journey:
    """What a command enters: functions and files of the package, in the order of first entry."""

    def __init__(self) -> None:
        self.functions: dict[CodeType, None] = {}
        self._known: dict[str, str | None] = {}

    @property
    def files(self) -> list[str]:
        """Files that were entered, without suffix, from the package's folder."""
        return list(dict.fromkeys(self._place(code) or "" for code in self.functions))

    @property
    def hops(self) -> list[str]:
        """Files that a reader opens for this journey, the rooms behind a door once."""
        rooms = {name: name.partition("/")[0] for name in self.files}
        return list(
            dict.fromkeys(
                room if room in DOORS else name
                for name, room in rooms.items()
                if not {name, room} & FOUNDATION
            )
        )

    def look(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call; for ``sys.setprofile``."""
        code = frame.f_code
        if event != "call" or code in self.functions or self._place(code) is None:
            return
        if code.co_flags & inspect.CO_NEWLOCALS and not self._importing(frame):
            self.functions[code] = None

    def _place(self, code: CodeType) -> str | None:
        name = code.co_filename
        if name not in self._known:
            inside = name.startswith(str(PACKAGE))
            path = Path(name).relative_to(PACKAGE).with_suffix("") if inside else None
            self._known[name] = None if path is None else path.as_posix()
        return self._known[name]

    def _importing(self, frame: FrameType | None) -> bool:
        """Whether a call is made by a module of the package that is just being imported."""
        while frame is not None:
            code = frame.f_code
            if self._place(code) is not None and not code.co_flags & inspect.CO_OPTIMIZED:
                return True  # a module's or a class's body
            frame = frame.f_back
        return False


def travelled(words: Sequence[str | Path]) -> Journey:
    """The journey of a command, which has to succeed."""
    from llm4seg_probe.cli.app import app

    journey = Journey()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        sys.setprofile(journey.look)
        try:
            app(list(map(str, words)), standalone_mode=False)
        finally:
            sys.setprofile(None)
    return journey


def trained(folder: Path) -> Path:
    """Two run folders, of a plain and a boosted network, small and trained for one epoch."""
    from llm4seg_probe.config import Config
    from llm4seg_probe.training.train import train

    base = {
        "data": {"name": "phantoms-texture", "split": "cases", "image_size": [32, 32]},
        "backbone": {"widths": [4, 4, 4, 4, 4]},
        "training": {"epochs": 1, "batch_size": 32},
    }
    for arm in ("cnn", "adapters"):
        train(Config.model_validate({**base, "arm": arm}), folder / arm)
    return folder


def touched(example: str, place: str) -> list[str]:
    """Files of package and tests that name a thing in quotes, or lie where it lies."""
    quoted = re.compile(rf"""["']{re.escape(example)}["']""")
    found = []
    for path in (*files(), *sorted((CHECKOUT / "tests").rglob("*.py"))):
        name = path.relative_to(CHECKOUT).as_posix()
        text = path.read_text(encoding="utf-8")
        if name.startswith("tests/"):
            # Tests name what is there for all sorts of reasons: those that are about it count.
            about = re.sub(r"\W", "_", example) in path.stem and place
        else:
            about = bool(quoted.search(text)) or (bool(place) and f"/{place}" in f"/{name}")
        if about:
            found.append(name)
    return found


def counts(runs: Path | None, results: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Each number by its name, with what it counts."""
    yield "files", len(files()), []
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files()}
    long = [f"{path.relative_to(PACKAGE)}: {count}" for path, count in lines.items() if count > 400]
    yield "lines", sum(lines.values()), []
    yield "files of more than 400 lines", len(long), long
    shared = names_in_three_rooms()
    yield "names in three rooms", len(shared), shared
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        here = runs or trained(out / "runs")
        commands: dict[str, list[str | Path]] = {
            "rank": ["rank", "--ckpt", here / "**" / "run.pt", "--out", out / "rank"],
            "compare": [
                "compare", results / "scores.csv", "--where", "split=test", "--where",
                "checkpoint=best", "--bootstrap", "100", "--out", out / "compare",
            ],
            "report": ["report", results, "--out", out / "page"],
        }  # fmt: skip
        for name, words in commands.items():
            journey = travelled(words)
            yield f"hops of {name}", len(journey.hops), journey.hops
            yield f"files entered by {name}", len(journey.files), journey.files
            yield f"functions entered by {name}", len(journey.functions), []
    for thing, (example, place) in THINGS.items():
        found = touched(example, place)
        article = "an" if thing[0] in "aeiou" else "a"
        yield f"{article} {thing} touches", len(found), found


def main() -> None:
    """Measure, print, and write where it is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=Path, help="folder of finished runs")
    parser.add_argument("--results", type=Path, help="folder of results, with scores.csv")
    parser.add_argument("--names", action="store_true", help="print what was counted")
    parser.add_argument("--out", type=Path, help="CSV to write")
    options = parser.parse_args()
    results = options.results or _stored_results()
    rows = []
    for name, count, found in counts(options.runs, results):
        rows.append({"count": name, "value": count, "target": TARGETS.get(name)})
        print(f"{name:<32}{count:>7}" + (f"  (at most {TARGETS[name]})" if name in TARGETS else ""))
        if options.names:
            print("".join(f"    {each}\n" for each in found), end="")
    if options.out is not None:
        table = pd.DataFrame(rows).astype({"target": "Int64"})
        write: Callable[..., Any] = table.to_csv
        with atomically(options.out) as partial:
            write(partial, index=False, lineterminator="\n")


def _stored_results() -> Path:
    """The first stored folder of results that can be drawn again."""
    return sorted(CHECKOUT.glob("reports/*/claims.csv"))[0].parent


if __name__ == "__main__":
    main()
