"""The design as it was run, as the paragraphs that a paper's methods section needs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from llm4seg_probe.arms import ARMS
from llm4seg_probe.config import Config
from llm4seg_probe.drawing.style import arm_style, in_order
from llm4seg_probe.reading.names import printable
from llm4seg_probe.report.answer import RULE
from llm4seg_probe.report.context import DatasetContext, ReportContext
from llm4seg_probe.report.results import Results
from llm4seg_probe.statistics.claims import Association, Claim
from llm4seg_probe.statistics.kinds import KINDS
from llm4seg_probe.statistics.mechanisms import Mechanism

NAME = "methods.md"

_ATTENTION = {
    "causal": "a causal mask over the tokens in raster order",
    "reference": "a causal mask over the tokens in raster order, as published",
    "bidirectional": "no mask, so that every token sees all others",
}
_POSITION = {
    "reference": "one rotation angle per token, as published (raster index in radians, sine and "
    "cosine exchanged)",
    "rope": "the model's own rotary positions in raster order",
    "axial-rope": "rotary positions by row and column",
    "none": "no position encoding",
}
_TESTS = {name: kind.method for name, kind in KINDS.items()} | {
    "association": "repeated-measures correlation"
}


def methods_text(results: Results) -> str:
    """Paragraphs in Markdown on data, network, arms, training, selection and statistics.

    All of it is generated from the configuration and the tables. Raises ConfigError where the base
    configuration of ``analysis.yaml`` is none.
    """
    context = results.context
    config = context.config
    paragraphs = {
        "Data": f"{_data(context.all_datasets, config)} {_few_images(results)}",
        "Network and arms": _network(context, config),
        "Training and selection": _training(context, config),
        "What varies": _varying(results),
        "Statistics": _statistics(context),
        "Decided in advance": _in_advance(context.claims),
        "Mechanisms": _mechanisms(context.mechanisms),
        "What it rests on": " ".join([context.rests_on, *_machine(context)]),
    }
    parts = [f"# Methods: {context.title}", context.question]
    parts += [
        f"**{title}.** {' '.join(text.split())}" for title, text in paragraphs.items() if text
    ]
    return "\n\n".join(map(_inert, parts)) + "\n"


_ESCAPED = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("[", "\\["), ("]", "\\]"))
_CODE = re.compile(r"((?<!`)`(?!`)[^`]*`(?!`))")
"""A code span as Markdown reads it; split by it, every second part is one."""


def _inert(text: str) -> str:
    """Markdown in which names from the tables are no HTML, no link and no picture.

    >>> _inert("**Data.** <img src=x> ![a](http://b)")
    '**Data.** &lt;img src=x&gt; !\\\\[a\\\\](http://b)'
    >>> _inert("the condition `llm[layer=10]`")  # a code span shows what it holds
    'the condition `llm[layer=10]`'
    """
    parts = _CODE.split(text)
    for index, part in enumerate(parts):
        for letter, safe in _ESCAPED if index % 2 == 0 else _ESCAPED[:3]:
            part = part.replace(letter, safe)
        parts[index] = part
    return printable("".join(parts))


def _data(datasets: Iterable[DatasetContext], config: Config) -> str:
    sentences = []
    for data in datasets:
        counts = ", ".join(f"{count} {name}" for name, count in data.counts.items())
        described = f" ({data.description.rstrip('.')})" if data.description else ""
        split = f", split `{data.split}`" if data.split else ""
        sentences.append(f"{data.name}{described}: {counts or 'not counted'}{split}.")
        sentences += list(data.caveats)
    given = config.data
    size = " × ".join(map(str, given.image_size))
    how = "resized to" if given.sampling == "whole" else "cut into patches of"
    sentences.append(
        f"Images of {given.channels} channel{'s' if given.channels > 1 else ''} were {how} {size} "
        f"{'voxels' if len(given.image_size) == 3 else 'pixels'}, normalised as "
        f"`{given.normalisation}`, and augmented as "
        f"`{given.augmentation if isinstance(given.augmentation, str) else 'listed'}`, drawn by "
        f"seed, epoch and image. The split was drawn with seed {given.split_seed} and is the same "
        "for all arms and seeds."
    )
    return " ".join(sentences)


def _few_images(results: Results) -> str:
    """The rules by which training images and masks were drawn, where not all were as they are."""
    runs, config = results.tables.get("runs.csv"), results.context.config

    def occurs(field: str, usual: object) -> bool:
        base = config.data if field != "steps_per_epoch" else config.training
        varies = runs is not None and field in runs.columns
        return varies or getattr(base, field) != usual

    sentences = []
    if occurs("train_images", "all"):
        sentences.append(
            "Where fewer images were trained on (`train_images`), they were drawn from the "
            "training side by the seed, alike for all arms, the fewer among the more: whole "
            "patients until the number was reached, single images where no patient has several."
        )
    if occurs("label_noise", 0.0):
        sentences.append(
            "Where training masks were made wrong (`label_noise`: the share of them), a quarter "
            "each were eroded and dilated (by a quarter of the object's radius), shifted (by half "
            "of it) and dropped, drawn by seed and image; validation and test masks were not "
            "touched."
        )
    if occurs("steps_per_epoch", None):
        sentences.append(
            "`steps_per_epoch=full` stands for epochs of as many optimiser steps as all images "
            "make, the drawn ones gone through again in new orders."
        )
    return " ".join(sentences)


def _network(context: ReportContext, config: Config) -> str:
    backbone, booster = config.backbone, config.booster
    widths = f" of widths {'-'.join(map(str, backbone.widths))}" if backbone.widths else ""
    layers = ", ".join(map(str, booster.layers))
    plural = "s" if len(booster.layers) > 1 else ""
    arms = "; ".join(f"`{arm}` ({arm_style(arm).meaning})" for arm in in_order(context.arms))
    mixed = any(arm in ARMS and ARMS[arm].mixed for arm in context.arms)
    named = (
        f"layers {', '.join(map(str, booster.mixture))}"
        if booster.mixture
        else f"at most five layers, evenly spaced through layer {layers}"
    )
    mixture = f", in a mixture {named}, side by side," if mixed else ""
    residual = "with" if booster.residual else "without"
    return (
        f"The network is {backbone.name}{widths}. Between its encoder and decoder stood layer"
        f"{plural} {layers}{mixture} of {booster.source} between two linear adapters (initialised "
        f"as `{booster.adapter_init}`), with {_ATTENTION[booster.attention]} and "
        f"{_POSITION[booster.position]}, {residual} a residual around it"
        f"{', with the final norm' if booster.final_norm else ''}; random layers were initialised "
        f"as `{booster.init}`. Arms: {arms}. The CNN's first weights, the split and the order of "
        "the batches are the same for all arms of a seed."
    )


def _training(context: ReportContext, config: Config) -> str:
    training, optimiser = config.training, config.training.optimiser
    rates = {
        "adapters": optimiser.adapters_lr,
        "a trained layer": optimiser.layer_lr,
        "mixture weights and gates": optimiser.gates_lr,
    }
    others = "".join(f", {rate:g} for {name}" for name, rate in rates.items() if rate is not None)
    losses = {
        "cross-entropy": training.cross_entropy_weight,
        "Dice": training.dice_weight,
        "focal": training.focal_weight,
        "Tversky": training.tversky_weight,
    }
    loss = " + ".join(f"{weight:g} {name}" for name, weight in losses.items() if weight)
    seeds = ", ".join(map(str, context.seeds))
    early = (
        f", stopped early after {training.early_stopping} epochs without a better one"
        if training.early_stopping
        else ""
    )
    averaged = (
        f"Weights are an exponential average over the steps (decay {training.average:g}). "
        if training.average
        else ""
    )
    return (
        f"Runs were trained for {training.epochs} epochs{early} in batches of "
        f"{training.batch_size}{_accumulated(training.accumulate)} with {optimiser.name}, peak "
        f"learning rate {optimiser.lr:g}{others}, schedule `{optimiser.schedule}`, weight decay "
        f"{optimiser.weight_decay:g}, loss {loss}, in {config.compute.precision}. {averaged}"
        "The epoch with the best mean IoU on the validation images was kept, and scored once on "
        "the test images (a pixel is foreground above a probability of "
        f"{config.evaluation.threshold:g}). Seeds: {seeds}."
    )


def _accumulated(count: int) -> str:
    return f" × {count} accumulated" if count > 1 else ""


def _varying(results: Results) -> str:
    runs = results.tables.get("runs.csv")
    if runs is None or "deviation" not in runs.columns:
        return ""
    told = runs["deviation"].astype(object).where(runs["deviation"].notna(), "")
    named = [f"{arm}[{text}]" for arm, text in zip(runs["arm"], told, strict=True) if text]
    if not named:
        return ""
    shown = "; ".join(f"`{name}`" for name in dict.fromkeys(named))
    return f"Beside the arms as described, these conditions deviate in what they name: {shown}."


def _statistics(context: ReportContext) -> str:
    seeds = len(context.seeds)
    floor = f" (with {seeds} seeds it cannot give less than {2 / 2**seeds:g})" if seeds > 1 else ""
    return (
        "Scores are means over the test images of each run; arms are compared within seeds. The "
        "main test is the paired t-test over seeds with its 95 % interval, α = 0.05, two-sided "
        f"unless stated; beside it the exact sign-flip test{floor}, and bootstraps over patients "
        "and over seeds and patients (crossed), the former with ten or more patients only. A claim "
        "of several comparisons is as good as its weakest. Within a family p is adjusted by "
        "Holm's method. Equivalence is tested by two one-sided tests against the margin. A verdict "
        "is *supported* or *contradicted* by the adjusted p, else *equivalent* by the equivalence "
        "test, else *inconclusive*, with the number of seeds that the margin would take at 80 % "
        "power."
    )


def _in_advance(claims: Sequence[Claim | Association]) -> str:
    before = [claim for claim in claims if claim.in_advance]
    after = [claim for claim in claims if not claim.in_advance]
    sentences = []
    if before:
        listed = "; ".join(map(_claim, before))
        sentences.append(f"These claims and margins were written before the first run: {listed}.")
    if after:
        sentences.append(f"Stated after the runs (post hoc): {'; '.join(map(_claim, after))}.")
    return " ".join(sentences)


def _mechanisms(mechanisms: Sequence[Mechanism]) -> str:
    """What each mechanism needs, and the rule by which it is judged."""
    if not mechanisms:
        return ""
    needs = "; ".join(f"*{one.title}*: {', '.join(one.needs)}" for one in mechanisms)
    return f"{RULE} {needs}."


def _claim(claim: Claim | Association) -> str:
    kind = _TESTS.get(claim.kind, claim.kind)
    family = f", family {claim.family}" if claim.family else ""
    ends = f", margin {claim.margin:g}{family}"
    if isinstance(claim, Association):
        arms = ", ".join(f"`{arm}`" for arm in claim.arms)
        tested = f"{kind} of {claim.x.score} with {claim.y.score} within {arms}"
    else:
        pairs = " and ".join(f"`{pair.a}` against `{pair.b}`" for pair in claim.comparisons)
        tested = f"{kind} of {pairs} in {claim.score} of {claim.table}.csv"
    return f"*{claim.id}* ({claim.statement}): {tested}{ends}"


def _machine(context: ReportContext) -> list[str]:
    if not context.machine:
        return []
    told = ", ".join(f"{name} {value}" for name, value in context.machine.items() if value)
    return [f"Machine: {told}."]
