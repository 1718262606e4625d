"""Write the HTML page of a folder of results: a front page and its parts, or one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llm4seg_probe.reading.names import own_files
from llm4seg_probe.report.claims import ClaimSection
from llm4seg_probe.report.html import asset, policy, style_sheet, template
from llm4seg_probe.report.page_content import Drawn, page_content
from llm4seg_probe.report.page_files import PageFiles
from llm4seg_probe.report.results import Results
from llm4seg_probe.storage import write_text

PAGE = "index.html"
PARTS = {
    "index": "Answer",
    "conditions": "Conditions",
    "cases": "Cases",
    "probes": "Inside the networks",
    "about": "How it was run",
}
"""Parts of the page, each a file of its own unless one file is asked for, and their titles."""

_FILES = (
    *("methods.md", "*.csv", "maps*.npz", "analysis.yaml"),
    *("tables/*.*", "figures/*.*", "*/*.csv", "*/*.npz"),
)
_SCRIPTS = {
    "index": ("page.js",),
    "conditions": ("page.js", "conditions.js"),
    "cases": ("page.js", "explorer-drawing.js", "explorer.js"),
    "probes": ("page.js",),
    "about": ("page.js",),
}


def write_page(
    results: Results,
    claims: Sequence[ClaimSection],
    figures: Mapping[str, Sequence[Drawn]],
    folder: Path,
    cases: Sequence[str] = (),
    *,
    one_file: bool = False,
) -> Path:
    """Write ``index.html`` and its parts into a folder that holds the tables.

    Parameters
    ----------
    results, claims, figures
        What the page shows; figures are those of :func:`page_figures.draw_all`, and what is
        missing was not drawn.
    folder
        Where to; the page links to files that lie there, and to no others. Its tables are
        written under ``tables/``.
    cases
        Images that the explorer shows beside those that it chooses itself.
    one_file
        Put everything into ``index.html``, which then leads to no other file.

    Returns
    -------
    Path
        The path of ``index.html``. The pages work from disk and offline; nothing in them runs but
        their own scripts, whose hashes stand in their content security policy.
    """
    writer = PageFiles(folder, one_file)
    content = page_content(results, claims, figures, writer, cases)
    where = _where(content, one_file)
    content["search"] = _search(content, where)
    groups = [tuple(PARTS)] if one_file else [(name,) for name in PARTS]
    if not content["explorer"]:
        groups = [tuple(name for name in group if name != "cases") for group in groups]
    for group in filter(None, groups):
        _write(folder, group, content, where, writer)
    return folder / PAGE


def _write(
    folder: Path,
    parts: Sequence[str],
    content: dict[str, Any],
    where: Mapping[str, str],
    writer: PageFiles,
) -> None:
    """Write one file with some of the parts."""
    name = "index" if "index" in parts else parts[0]
    scripts = [
        asset(script) for script in dict.fromkeys(one for part in parts for one in _SCRIPTS[part])
    ]
    own = f"{name}.html"

    def to(anchor: str) -> str:
        """The address of a section, seen from this file."""
        target = where.get(anchor, own)
        return f"#{quote(anchor)}" if target == own else f"{target}#{quote(anchor)}"

    files_there = [
        path.relative_to(folder).as_posix()
        for pattern in _FILES
        for path in own_files(folder, pattern)
    ]
    text = template("page.html").render(
        **content,
        parts=parts,
        own=own,
        part_titles={part: PARTS[part] for part in PARTS if part != "cases" or content["explorer"]},
        one_file=writer.one_file,
        to=to,
        link=writer.link,
        exists=writer.exists,
        downloads=[] if writer.one_file else list(dict.fromkeys(files_there)),
        style=style_sheet(),
        scripts=scripts,
        policy=policy(scripts, "data:" if writer.one_file else "'self' data:"),
    )
    write_text(folder / own, text)


def _where(content: dict[str, Any], one_file: bool) -> dict[str, str]:
    """Which file each section stands in."""
    where = {
        **dict.fromkeys(("answer", "verdicts", "mechanisms", "claims"), "index"),
        **{shown.anchor: "index" for shown in content["mechanisms"]},
        **{shown["anchor"]: "index" for shown in content["claims"]},
        **{shown["section"].anchor: shown["section"].part for shown in content["sections"]},
        **dict.fromkeys(("conditions", "compare"), "conditions"),
        "look": "cases",
        "probes": "probes",
        **{shown["anchor"]: "probes" for shown in content["probes"]},
        **dict.fromkeys(("setup", "arms", "glossary", "cite", "files", "caveats"), "about"),
    }
    if not content["explorer"]:
        where["maps"] = "probes"
    return dict.fromkeys(where, PAGE) if one_file else {k: f"{v}.html" for k, v in where.items()}


def _search(content: dict[str, Any], where: Mapping[str, str]) -> list[list[str]]:
    """What the search field finds: kind, text, address."""
    found = [
        ["claim", f"{row.statement} ({row.claim}): {row.word}", where.get(anchor, ""), anchor]
        for row, anchor in content["rows"]
    ]
    for shown in content["mechanisms"]:
        text = f"{shown.stated.title}: {shown.word}"
        found.append(["mechanism", text, where[shown.anchor], shown.anchor])
    several = len({row.dataset for row in content["conditions"]}) > 1
    for row in content["conditions"]:
        label = f"{row.label} on {row.dataset}" if several else row.label
        anchor = f"conditions&find={quote(row.label)}"
        found.append(["condition", label, where["conditions"], anchor])
    explorer = content["explorer"] or {"sets": []}
    for number, images in enumerate(explorer["sets"]):
        for case in images["cases"]:
            anchor = f"look&set={number}&case={quote(case['name'])}"
            found.append(["case", case["name"], where["look"], anchor])
    for shown in [*content["sections"], *content["probes"]]:
        anchor = shown["section"].anchor if "section" in shown else shown["anchor"]
        title = shown["section"].title if "section" in shown else shown["title"]
        found.append(["section", title, where[anchor], anchor])
    return found
