"""Networks: what a run is and costs before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm4seg_probe.cli.output import Json, emit_json, say

if TYPE_CHECKING:
    from llm4seg_probe.models.costs import Costs
    from llm4seg_probe.study.preview import Preview


def show(
    config: Annotated[Path, typer.Argument(help="Configuration of the run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Fields to change.")
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Take a few real training steps, and the time of them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shapes, parameters, operations and memory of a run, before it starts."""
    from llm4seg_probe.config import load_config
    from llm4seg_probe.study.preview import preview

    found = preview(load_config(config, tuple(overrides or ())), timed=time)
    if as_json:
        emit_json(found.to_dict())
        return
    _say_shapes(found.costs)
    _say_costs(found.costs)
    _say_memory(found.costs)
    _say_published(found)
    if found.time is not None:
        say(
            f"\nA training step took {found.time.seconds:.3f} s here (median, CPU); the run has "
            f"{found.time.steps:,} of them: {found.time.run_seconds / 60:.1f} min. Reading, "
            "validation and scoring come on top."
        )
    say()
    for sentence in found.signatures or ("No sign of failure: frozen parts, widths, operations.",):
        say(sentence)


def _say_shapes(costs: Costs) -> None:
    say("Shapes, of one image")
    for name, shape in costs.sites.items():
        say(f"  {name:<10}  {' x '.join(map(str, shape))}")


def _say_costs(costs: Costs) -> None:
    say("\nParameters and operations, of one image (a MAC is two FLOPs; papers often print MACs)")
    head = ("all", "trainable", "frozen", "MACs", "FLOPs")
    say(f"  {'':<8}" + "".join(f"{name:>13}" for name in head))
    for part in (*costs.parts, costs.total):
        counts = (part.parameters, part.trainable, part.frozen)
        say(
            f"  {part.part:<8}"
            + "".join(f"{count:>13,}" for count in counts)
            + "".join(f"{count / 1e9:>11.2f} G" for count in (part.macs, part.flops))
        )


def _say_memory(costs: Costs) -> None:
    say(
        f"\nMemory of a training step with a batch of {costs.batch_size}, in MB: an estimate, "
        "without kernels'\nworkspaces, the loss and the process itself"
    )
    head = ("weights", "gradients", "optimiser", "activations", "together")
    say(f"  {'':<8}" + "".join(f"{name:>13}" for name in head))
    for part in (*costs.parts, costs.total):
        sizes = (part.weights, part.gradients, part.optimiser, part.activations, part.memory)
        say(f"  {part.part:<8}" + "".join(f"{size / 1e6:>13,.1f}" for size in sizes))


def _say_published(found: Preview) -> None:
    if not found.beside:
        say("\nNobody has published numbers of this setting that we know of.")
        return
    say("\nPublished numbers of this setting")
    for row in found.beside:
        say(
            f"  {row.quantity} of the {row.portion}: {row.published:,.0f}, here {row.ours:,} "
            f"(ratio {row.ours / row.published:.3f}). {row.source}"
        )


COMMANDS = {"show": show}
