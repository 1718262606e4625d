"""The templates of the pages, which escape whatever data they are given."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


def template(name: str) -> Template:
    """One of the package's templates; a name that a page forgets to give is an error."""
    environment = Environment(
        loader=PackageLoader("llm4seg_probe.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
