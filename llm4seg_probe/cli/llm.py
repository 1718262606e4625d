"""Sources of decoder layers: list them, look at one, fetch one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from llm4seg_probe.cli.options import Json, emit_json, say

Name = Annotated[str, typer.Argument(help="Embedded name, folder in Hugging Face layout, Hub id.")]


def list_sources(as_json: Json = False) -> None:
    """Embedded models, then well-known ones of the Hub."""
    from llm4seg_probe.llm import catalogue

    found = catalogue.list_sources()
    if as_json:
        emit_json({"sources": [asdict(source) for source in found]})
        return
    for source in found:
        facts = f"{source.layers} layers, width {source.width}, {source.licence}"
        access = (
            "here" if source.cached else "gated: needs an account" if source.gated else source.kind
        )
        say(f"{source.name:<42}  {facts:<36}  {access}")


def fetch(
    name: Name,
    layer: Annotated[
        list[int] | None, typer.Option("--layer", help="Only what this layer needs; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring a model's layers to this machine."""
    from llm4seg_probe.llm.catalogue import fetch_source

    folder = fetch_source(name, layer)
    emit_json({"folder": folder}) if as_json else say(f"{name} is in {folder}")


def show(name: Name, as_json: Json = False) -> None:
    """Depth, width, heads, and each layer with its hash."""
    from llm4seg_probe.llm.catalogue import show_source

    found = show_source(name)
    if as_json:
        emit_json(asdict(found))
        return
    say(f"{found.name}: {found.architecture}, {found.depth} layers, width {found.width}")
    say(
        f"{found.heads} heads and {found.key_value_heads} for keys and values, each "
        f"{found.head_width} wide; MLP {found.mlp_width} wide"
    )
    for layer in found.layers:
        window = f"window {layer.window}" if layer.window else "sees all"
        digest = f"sha256 {layer.sha256[:16]}…" if layer.sha256 else "not here"
        say(f"  layer {layer.layer:>3}  {layer.parameters:>12,} parameters  {window}  {digest}")


COMMANDS = {"list": list_sources, "fetch": fetch, "show": show}
