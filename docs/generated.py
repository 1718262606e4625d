"""Reference pages written from the code: configuration, commands, tables, probes.

They are written before each build into ``reference/`` and ``probes/`` and are not committed, so
that they cannot differ from what the code does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import llm4seg_probe
from llm4seg_probe.arms import ARMS
from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config
from llm4seg_probe.drawing.figure_files import save_figure
from llm4seg_probe.errors import UserError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.base import Probe
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.tables import SCHEMAS

ROWS = 12
"""Rows of a summary that a page shows."""


def write(docs: Path) -> None:
    """Write every generated page below ``docs``."""
    pages = {
        "reference/configuration.md": configuration(),
        "reference/analysis-file.md": analysis_file(),
        "reference/command-line.md": command_line(),
        "reference/tables.md": tables(),
        "reference/arms.md": arms(),
        "probes/index.md": probes_index(),
        **{f"probes/{probe.name}.md": probe_page(docs, probe.name) for probe in registry.PROBES},
    }
    for name, text in pages.items():
        path = docs / name
        path.parent.mkdir(exist_ok=True)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def configuration() -> str:
    """Every field of a run's configuration, with its default and meaning."""
    head = (
        "# Configuration\n\nEvery field of a run's YAML file, with its default; the "
        "run folder's `config.yaml` writes all of them down.\n\n"
    )
    return head + "\n".join(_sections(Config))


def analysis_file() -> str:
    """Every field of an analysis file."""
    head = "# Analysis file\n\nFields of the YAML file that `sweep` reads.\n\n"
    return head + "\n".join(_sections(Analysis))


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    yield "| field | default | meaning |\n| --- | --- | --- |"
    nested = []
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is not None and prefix.count(".") < 3:
            nested.append((f"{prefix}{name}", inner))
            continue
        default = field.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else f"`{_plain(default)}`"
        yield f"| `{prefix}{name}` | {shown} | {_cell(field.description or '')} |"
    yield ""
    for name, inner in nested:
        yield f"## `{name}`\n\n{_cell((inner.__doc__ or '').strip().splitlines()[0])}\n"
        yield from _sections(inner, f"{name}.")


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    models = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    return models[0] if len(models) == 1 and type(None) in get_args(annotation) else None


def _plain(value: Any) -> str:
    """A default as YAML writes it.

    >>> _plain(0), _plain(False), _plain((96, 96)), _plain(1 / 3)
    ('0', 'false', '[96, 96]', '0.3333')
    """
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_plain, value)) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def command_line() -> str:
    """Every command with its options, from the program itself."""
    lines = ["# Command line\n", "`llm4seg-probe COMMAND --help` prints the same.\n"]
    lines += _commands(typer.main.get_command(app), "llm4seg-probe")
    return "\n".join(lines)


def _commands(command: Any, path: str) -> Iterator[str]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _commands(inner, f"{path} {name}")
        return
    yield f"## `{path}`\n\n{_cell(command.help or '')}\n"
    yield "| option | default | meaning |\n| --- | --- | --- |"
    for parameter in command.params:
        names = (
            " ".join(parameter.opts) if parameter.param_type_name == "option" else parameter.name
        )
        default = parameter.default
        shown = (
            f"`{default}`"
            if default not in (None, [], (), False, "") and not callable(default)
            else ""
        )
        yield f"| `{names}` | {shown} | {_cell(getattr(parameter, 'help', '') or '')} |"
    yield ""


def tables() -> str:
    """Columns of every table that is written."""
    lines = [
        "# Tables\n",
        "CSV, UTF-8, one row per measurement, empty for missing. Keys identify a row.\n",
    ]
    for name, schema in {**SCHEMAS, **registry.schemas()}.items():
        lines.append(f"## `{name}`\n\nKeys: " + ", ".join(f"`{key}`" for key in schema.keys) + "\n")
        lines.append("Values: " + ", ".join(f"`{value}`" for value in schema.values) + "\n")
    return "\n".join(lines)


def arms() -> str:
    """Every arm with its sentence."""
    rows = "\n".join(f"| `{name}` | {_cell(arm.description)} |" for name, arm in ARMS.items())
    return f"# Arms\n\n| arm | between encoder and decoder |\n| --- | --- |\n{rows}\n"


def probes_index() -> str:
    """Contents of the probes' pages."""
    rows = "\n".join(
        f"| [{name}]({name}.md) | {_cell(probe.summary)} |"
        for name, probe in ((probe.name, probe) for probe in registry.PROBES)
    )
    tree = "\n".join(probe.name for probe in registry.PROBES)
    return (
        "# Probes\n\nEach takes any number of finished runs, writes a table and draws it.\n\n"
        f"| probe | measures |\n| --- | --- |\n{rows}\n\n"
        f"```{{toctree}}\n:hidden:\n\n{tree}\n```\n"
    )


def probe_page(docs: Path, name: str) -> str:
    """Question, figure, use, caveat and columns of one probe, from the stored small results."""
    probe = registry.find(name)
    command = "intervene --swap" if name == "swap" else name
    columns = "\n\n".join(
        f"`{schema.name}`: keys "
        + ", ".join(f"`{key}`" for key in schema.keys)
        + "; values "
        + ", ".join(f"`{value}`" for value in schema.values)
        + "."
        for schema in probe.schemas
    )
    claims = ", ".join(f"`{column}`" for column in probe.claimable) or "none"
    return (
        f"# {name}\n\n{_sentence(probe.summary)}\n\n{_executed(docs, probe)}"
        f"## Reading the figure\n\n{_cell(probe.shows)}\n\n"
        f"## Not shown\n\nIt cannot show {_cell(probe.cannot)}.\n\n"
        "## Your own runs, or any network\n\n"
        f"```console\nllm4seg-probe {command} --ckpt 'runs/*/run.pt'\n```\n\n"
        f'```python\nlp.{name}("runs/*/run.pt")\nlp.{name}(network, images, masks)\n```\n\n'
        f"## Columns\n\n{columns}\n\nA claim of an analysis may be stated on: {claims}.\n"
    )


def _executed(docs: Path, probe: Probe) -> str:
    """Three lines, run now on the results of ``docs/gallery.yaml``, with what they gave."""
    try:
        found = llm4seg_probe.read(docs / "results").probe(probe.name)
    except UserError:  # not among the stored results
        return ""
    first, figure = next(iter(found.figures().items()))
    save_figure(figure, docs / "probes/figures", f"{probe.name}-{first}", docs / "results/runs.csv")
    head = found.summary.head(ROWS)
    shown = "\n".join(
        [
            "| " + " | ".join(head.columns) + " |",
            "| " + " | ".join("---" for _ in head.columns) + " |",
            *("| " + " | ".join(map(_number, row)) + " |" for row in head.to_numpy()),
        ]
    )
    said = "".join(f"{_cell(sentence)}\n\n" for sentence in found.sentences)
    rows = len(found.summary)
    more = f"{len(head)} of {rows} rows.\n\n" if len(head) < rows else ""
    return (
        "```python\nimport llm4seg_probe as lp\n\n"
        f'found = lp.read("docs/results").probe("{probe.name}")\n'
        "found.plot()\nfound.summary\n```\n\n"
        f"![{probe.name}: {first}](figures/{probe.name}-{first}.svg)\n\n{shown}\n\n{more}{said}"
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _cell(str(value))


def _sentence(text: str) -> str:
    return _cell(text[:1].upper() + text[1:]).rstrip(".") + "."
