"""Single runs: their cost beforehand, training, scoring, prediction, conversion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm4seg_probe import progress
from llm4seg_probe.arms import ARMS
from llm4seg_probe.cli.options import (
    Checkpoints,
    Data,
    Device,
    Json,
    Loggers,
    Out,
    SplitSide,
    checkpoints,
    emit_json,
    records,
    say,
)

if TYPE_CHECKING:
    from llm4seg_probe.integrations.nnunet.conversion import ConvertedNnunet
    from llm4seg_probe.models.costs import Costs
    from llm4seg_probe.study.forecast import Preview
    from llm4seg_probe.training.predict import Prediction
    from llm4seg_probe.training.published_checkpoint import Converted


def show(
    config: Annotated[Path, typer.Argument(help="Configuration of the run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Fields to change.")
    ] = None,
    time: Annotated[
        bool, typer.Option("--time", help="Take a few real training steps, and the time of them.")
    ] = False,
    device: Device = "",
    as_json: Json = False,
) -> None:
    """Shapes, parameters, operations and memory of a run, before it starts."""
    from llm4seg_probe.config import load_config

    fields = (*(overrides or ()), *_computed_on(device))
    load_config(config, fields)  # what is wrong in it, before torch is imported
    from llm4seg_probe.results import costs

    ahead = costs.show(config, overrides=fields, time=time).preview
    if as_json:
        emit_json(ahead.to_dict())
        return
    for sentence in ahead.asks:
        say(sentence)
    _say_shapes(ahead.costs)
    _say_costs(ahead.costs)
    _say_memory(ahead.costs)
    _say_published(ahead)
    if ahead.time is not None:
        say(
            f"\nA training step took {ahead.time.seconds:.3f} s here (median, "
            f"{ahead.time.device}); the run has {ahead.time.steps:,} of them: "
            f"{ahead.time.run_seconds / 60:.1f} min. Reading, "
            "validation and scoring come on top."
        )
    say()
    for sentence in ahead.signatures or ("No sign of failure: frozen parts, widths, operations.",):
        say(sentence)


def _computed_on(device: str) -> tuple[str, ...]:
    """The override of a configuration's device, where one is named on the command line."""
    return (f"compute.device={device}",) if device else ()


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


def _say_published(preview: Preview) -> None:
    if not preview.beside:
        say("\nNobody has published numbers of this setting that we know of.")
        return
    say("\nPublished numbers of this setting")
    for row in preview.beside:
        say(
            f"  {row.quantity} of the {row.portion}: {row.published:,.0f}, here {row.ours:,} "
            f"(ratio {row.ours / row.published:.3f}). {row.source}"
        )


def train(
    config: Annotated[Path, typer.Argument(help="Configuration of the run.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[key=value]...", help="Fields to change.")
    ] = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from last.pt.")] = False,
    embed_llm: Annotated[
        bool,
        typer.Option("--embed-llm", help="Keep the layer's weights in run.pt: no source needed."),
    ] = False,
    device: Device = "",
    loggers: Loggers = None,
    as_json: Json = False,
) -> None:
    """One run into a run folder."""
    from llm4seg_probe.config import load_config

    asked = load_config(config, tuple(overrides or ()))  # refused before torch is imported
    epochs = asked.training.epochs
    progress.say(f"{asked.arm}, seed {asked.seed}: {epochs} epochs on {asked.data.name}")
    from llm4seg_probe.results import runs
    from llm4seg_probe.training.loggers import loggers_given

    chosen = runs.configuration(config, (*(overrides or ()), *_computed_on(device)))
    folder = out or Path("reports") / "runs" / f"{config.stem}-{chosen.arm}-{chosen.seed}"
    with loggers_given(loggers or ()):
        trained = runs.train(chosen, folder, resume=resume, embed_llm=embed_llm)
    if as_json:
        said = {"learned": trained.learned, "signatures": trained.signatures}
        emit_json({"checkpoint": trained.path, **said})
        return
    for line in (*trained.sentences, f"The run: {trained.path}"):
        say(line)


def evaluate(
    ckpt: Checkpoints,
    data: Data = None,
    split: SplitSide = "test",
    device: Device = "auto",
    out: Out = Path("reports/evaluate"),
    as_json: Json = False,
) -> None:
    """Scores per image and class of one or more runs."""
    assert out is not None
    paths = checkpoints(ckpt)
    from llm4seg_probe.results.evaluations import evaluate as evaluated

    found = evaluated(paths, split=split, data=data, device=device)
    (path,) = found.save(out)
    if as_json:
        emit_json({"table": path, "rows": records(found.table)})
        return
    means = found.summary.set_index(["arm", "seed", "class"])
    say(f"{means.to_string(float_format='%.4f')}\n\nThe table: {path}")


def predict(
    ckpt: Annotated[Path, typer.Option("--ckpt", help="The run.pt.")],
    images: Annotated[
        Path, typer.Option("--images", help="An image, a folder of images, or a DICOM series.")
    ],
    out: Out = Path("reports/predict"),
    modality: Annotated[
        str | None,
        typer.Option("--modality", help="ct, mr or photo; by default what the images say."),
    ] = None,
    overlays: Annotated[
        bool, typer.Option("--overlays", help="PNGs of the images with the masks' outlines, too.")
    ] = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The probability of each class, too.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Masks of new images, in the images' own grid and format.

    Pictures give PNG; NIfTI, NRRD and MetaImage give the same with the same place in space; a
    folder with a DICOM series gives one NIfTI file. Of a classification: a table with the
    probability of each class in each image; of a detection, of the objects found.
    """
    from llm4seg_probe.errors import DataError
    from llm4seg_probe.reading.names import refuse_other_than_file

    assert out is not None
    (path,) = checkpoints([str(ckpt)])[:1]
    if not images.exists():
        refuse_other_than_file(images, DataError)
        raise DataError(f"no such file or folder: {images}")
    from llm4seg_probe.probes.probed import Source
    from llm4seg_probe.training.predict import predict_images

    task = Source(path).config.task
    if task != "segmentation":
        if overlays or probabilities:
            raise DataError(
                f"{path}: its task is '{task}', whose predictions are one table: leave out "
                "--overlays and --probabilities"
            )
        _predict_table(path, images, out, modality, device, as_json)
        return

    predictions = predict_images(
        path, images, out, modality=modality, overlays=overlays, probabilities=probabilities,
        device=device,
    )  # fmt: skip
    if as_json:
        emit_json({"out": out, "predictions": [vars(prediction) for prediction in predictions]})
        return
    for prediction in predictions:
        pixels = ", ".join(f"{name} {count}" for name, count in prediction.pixels.items())
        say(f"{prediction.image} -> {', '.join(map(str, prediction.masks))} (pixels: {pixels})")
    for alarm in same_everywhere(predictions):
        say(alarm)


def _predict_table(
    checkpoint: Path, images: Path, out: Path, modality: str | None, device: str, as_json: bool
) -> None:
    from llm4seg_probe.training.label_prediction import predicted_table, write_predictions
    from llm4seg_probe.training.stored_run import load

    table = predicted_table(load(checkpoint, device=device), images, modality=modality)
    path = write_predictions(table, out)
    if as_json:
        emit_json({"table": path, "rows": records(table)})
        return
    say(f"{table.to_string(index=False, float_format='%.3f', max_rows=20)}\n\nThe table: {path}")


def same_everywhere(predictions: Sequence[Prediction]) -> list[str]:
    """An alarm where every pixel of every mask is alike, for one run on several images or one."""
    shares = {
        count / prediction.size
        for prediction in predictions
        for count in prediction.pixels.values()
    }
    if shares not in ({0.0}, {1.0}):
        return []
    word = "background" if shares == {0.0} else "foreground"
    return [f"Every pixel of every image is {word}: the run has learned nothing of use here."]


def convert(
    reference: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT.pth",
            help="Checkpoint of the published code, its state dict; or checkpoint_final.pth of "
            "nnU-Net.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="run.pt", help="File to write.")],
    arm: Annotated[
        str | None,
        typer.Option(
            "--arm",
            help="What the checkpoint does not say: llm (the default with a layer), "
            "llm-trainable, transformer or random-frozen.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """A checkpoint of the published code or of nnU-Net into a run that every probe opens."""
    from llm4seg_probe.integrations.nnunet.checkpoints import is_nnunet

    if is_nnunet(reference):
        from llm4seg_probe.integrations.nnunet.conversion import convert_nnunet

        of_nnunet = convert_nnunet(reference, out, arm)
        _tell_converted(of_nnunet, of_nnunet.said, as_json)
        return
    from llm4seg_probe.training.published_checkpoint import convert_checkpoint

    said = ("It does not say which images it was trained on: add --data FOLDER to probe it.",)
    _tell_converted(convert_checkpoint(reference, out, arm), said, as_json)


def _tell_converted(
    converted: Converted | ConvertedNnunet, said: tuple[str, ...], as_json: bool
) -> None:
    config = converted.config
    layered = config.arm not in ("cnn", "adapters", "mlp")
    if as_json:
        emit_json(
            {
                "checkpoint": converted.path,
                "arm": config.arm,
                "source": config.booster.source if layered else None,
                "layer": config.booster.layer if layered else None,
                **({"mixture": config.booster.mixture} if ARMS[config.arm].mixed else {}),
                "parameters": converted.parameters,
                "trainable": converted.trainable,
                "said": list(said),
            }
        )
        return
    mixed = ARMS[config.arm].mixed
    which = "a mixture of layers" if mixed else f"layer {config.booster.layer}"
    what = f"{which} of {config.booster.source}" if layered else "no layer"
    say(
        f"Arm {config.arm}, {what}; {converted.parameters:,} parameters, "
        f"{converted.trainable:,} trained."
    )
    for line in said:
        say(line)
    say(f"The run: {converted.path}")


COMMANDS: dict[str, Callable[..., None]] = {
    "show": show,
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "convert": convert,
}
