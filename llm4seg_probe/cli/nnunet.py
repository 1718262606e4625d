"""nnU-Net v2 with the layer: trainers, plans, and what its results can show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from llm4seg_probe.cli.options import Json, Out, emit_json, pairs, records, say

Results = Annotated[
    list[Path],
    typer.Argument(
        help="Folders of a data set in $nnUNet_results, such as $nnUNet_results/Dataset777_Spine."
    ),
]
Folds = Annotated[
    str | None,
    typer.Option("--folds", help="Folds to read, separated by commas; all that are there."),
]


def trainers(as_json: Json = False) -> None:
    """The folder for nnUNet_extTrainer, in which nnU-Net finds the trainers of all arms."""
    from llm4seg_probe.integrations.nnunet.installation import trainers_folder

    folder = trainers_folder()
    emit_json({"folder": folder}) if as_json else say(str(folder))


def plans(
    dataset: Annotated[str, typer.Argument(help="Number or name of a data set that is planned.")],
    source: Annotated[str, typer.Option(help="Language model: name, folder or Hub id.")],
    out: Annotated[str, typer.Option("--out", help="Name of the new plans, for -p.")],
    layer: Annotated[
        list[int] | None,
        typer.Option("--layer", help="Layer, from 1; negative from the end; repeatable. [15]"),
    ] = None,
    base: Annotated[str, typer.Option("--plans", help="Plans that it adds to.")] = "nnUNetPlans",
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="key=value", help="Further field of booster, such as attention."
        ),
    ] = None,
    store_layer: Annotated[
        bool,
        typer.Option(
            "--store-layer/--leave-layer-out",
            help="Whether checkpoints hold the frozen layer. Without it, they are smaller, and "
            "the language model is needed to load them.",
        ),
    ] = True,
    as_json: Json = False,
) -> None:
    """Plans that name a language model's layer, from plans of nnU-Net's."""
    from llm4seg_probe.models.nnunet_plans import base_plans, section_from

    begun = base_plans(dataset, out, base)
    layers = tuple(layer or (15,))
    section = section_from(
        source,
        layers[0] if len(layers) == 1 else layers,
        _values(options),
        store_layer=store_layer,
    )
    written = begun.write(section)
    if as_json:
        emit_json({"plans": written.path, "sha256": section.sha256, "tokens": dict(written.tokens)})
        return
    named = ", ".join(map(str, layers))
    say(f"Layer {named} of {source}, width {section.width}, SHA-256 {section.sha256[:12]}…")
    for name, count in written.tokens.items():
        say(f"In {name} it sees {count} tokens.")
    say(f"The plans: {written.path}")
    say(f"Train with -p {out} -tr nnUNetTrainer_LLM4Seg_ARM_sSEED")


def table(
    results: Results,
    folds: Folds = None,
    out: Annotated[Path, typer.Option("--out", help="CSV file to write.")] = Path(
        "reports/nnunet/table.csv"
    ),
    as_json: Json = False,
) -> None:
    """One tidy table of arms, seeds, folds, cases and classes, for compare and audit."""
    from llm4seg_probe.integrations.nnunet.results import collect, write

    found = collect(results, _folds(folds))
    write(found.table, out)
    if as_json:
        emit_json({"table": out, "rows": len(found.table), "left_out": list(found.left_out)})
        return
    for line in (*found.sentences, *found.left_out):
        say(line)
    say(f"The table: {out}")


def compare(
    results: Results,
    baseline: Annotated[str, typer.Option(help="Arm that the others are compared with.")] = "cnn",
    score: Annotated[str, typer.Option(help="dice or iou.")] = "dice",
    margin: Annotated[float, typer.Option(help="Smallest difference that matters.")] = 0.005,
    folds: Folds = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="column=value, such as plans=…; may be repeated."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples; 0 for none.")] = 10_000,
    out: Out = Path("reports/nnunet"),
    as_json: Json = False,
) -> None:
    """Does the layer help? Each seed's cross-validation is one replicate."""
    from llm4seg_probe.integrations.nnunet.results import collect, compared, write
    from llm4seg_probe.report.terminal import comparison_text
    from llm4seg_probe.tables import COMPARISON, write_table

    assert out is not None
    found = collect(results, _folds(folds))
    rows, said = compared(
        found,
        baseline=baseline,
        score=score,
        margin=margin,
        where=pairs(where),
        bootstrap=bootstrap,
    )
    write(found.table, out / "table.csv")
    path = out / COMPARISON.name
    write_table(rows, path, COMPARISON)
    if as_json:
        emit_json(
            {"table": path, "left_out": list(found.left_out), "said": said, "rows": records(rows)}
        )
        return
    for line in (*found.sentences, *found.left_out):
        say(line)
    say()
    say(comparison_text(rows))
    for line in ("", *said):
        say(line)
    say(f"\nThe tables: {out / 'table.csv'}, {path}")


def _values(options: list[str] | None) -> dict[str, Any]:
    from llm4seg_probe.errors import ConfigError
    from llm4seg_probe.reading.text import parse_yaml_value

    found = {}
    for option in options or ():
        key, equals, value = option.partition("=")
        if not equals:
            raise ConfigError(f"'{option}' is not a field: write --set key=value")
        if key in ("source", "layer"):
            raise ConfigError(f"--set {key}=…: give it as --{key}")
        found[key] = parse_yaml_value(value, f"--set {key}", ConfigError)
    return found


def _folds(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


COMMANDS = {"trainers": trainers, "plans": plans, "table": table, "compare": compare}
