"""The arms of the comparison with their sentences, and the conditions written with them.

An arm is an entry of :data:`ARMS` (and its name in :data:`ArmName`), and its colour in
:mod:`llm4seg_probe.drawing.style`. Networks, tables, figures and pages read it from here.

A condition is an arm, what deviates in it, a site, and contrasts of such.

| written | means |
| --- | --- |
| ``llm`` | the arm |
| ``llm[layer=10]`` | its runs with that layer; several with commas |
| ``llm@after`` | what was measured at that site |
| ``llm@after - llm@before`` | a difference, run by run; ``+`` and ``-`` stand between spaces |
| ``mean(llm[layer=3], llm[layer=4])`` | the mean of several |
| ``sd(llm[layer=3], llm[layer=4])`` | their standard deviation, seed by seed; it stands alone |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llm4seg_probe.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

ArmName = Literal[
    "cnn",
    "llm",
    "llm-trainable",
    "transformer",
    "random-frozen",
    "shuffled-frozen",
    "adapters",
    "mlp",
    "attention-only",
    "mlp-only",
    "llm-lora",
    "llm-mix",
    "random-mix",
    "llm-gated",
    "random-gated",
]
Middle = Literal["nothing", "identity", "gelu", "layer"]
Weights = Literal["pretrained", "random", "shuffled"]
Halves = Literal["both", "attention", "mlp"]


@dataclass(frozen=True)
class Arm:
    """One condition of the comparison.

    ``middle`` is what stands between the two adapters; with ``nothing`` there are no adapters
    either. The following fields describe a decoder layer, and only count where there is one:
    where its weights come from, whether they are trained, which of its halves run, and whether
    low-rank adapters are trained beside the frozen weights. With ``mixed`` several layers stand
    side by side, and a learned convex average of them goes on. With ``gated`` the booster's output
    is added to its input through a learned gate, which starts at zero.

    ``rung`` is the arm's step on the ladder from the plain CNN (0) to the language model, and
    ``adds`` what it has more than the step before. Arms that are no step stand ``beside`` the
    ladder in this order; ``adds`` is then what they have more than the plain CNN.
    """

    label: str
    description: str
    middle: Middle
    weights: Weights = "pretrained"
    trainable: bool = False
    halves: Halves = "both"
    low_rank: bool = False
    mixed: bool = False
    gated: bool = False
    adds: str = ""
    rung: int | None = None
    beside: int | None = None


ARMS: dict[str, Arm] = {
    "cnn": Arm("CNN", "the plain CNN: nothing between encoder and decoder", "nothing", rung=0),
    "llm": Arm(
        "LLM, frozen",
        "pre-trained decoder layer, frozen",
        "layer",
        adds="the pre-training",
        rung=5,
    ),
    "llm-trainable": Arm(
        "LLM, trained",
        "pre-trained decoder layer, trained",
        "layer",
        trainable=True,
        adds="the pre-trained layer, trained with the rest",
        beside=2,
    ),
    "transformer": Arm(
        "Transformer",
        "the same architecture from random weights, trained",
        "layer",
        "random",
        trainable=True,
        adds="the architecture, trained from random weights",
        beside=1,
    ),
    "random-frozen": Arm(
        "Random, frozen",
        "the same architecture, random weights, frozen",
        "layer",
        "random",
        adds="a decoder layer's architecture",
        rung=3,
    ),
    "shuffled-frozen": Arm(
        "Shuffled, frozen",
        "pre-trained weights, the entries of every tensor permuted, frozen",
        "layer",
        "shuffled",
        adds="the distribution of its weights",
        rung=4,
    ),
    "adapters": Arm(
        "Adapters only",
        "the two linear projections alone",
        "identity",
        adds="the two projections",
        rung=1,
    ),
    "mlp": Arm(
        "MLP",
        "the two linear projections with a GELU between",
        "gelu",
        adds="a non-linearity between them",
        rung=2,
    ),
    "attention-only": Arm(
        "Attention half",
        "pre-trained decoder layer, frozen, its MLP bypassed",
        "layer",
        halves="attention",
        adds="the attention half of the pre-trained layer",
        beside=4,
    ),
    "mlp-only": Arm(
        "MLP half",
        "pre-trained decoder layer, frozen, its attention bypassed",
        "layer",
        halves="mlp",
        adds="the MLP half of the pre-trained layer",
        beside=5,
    ),
    "llm-lora": Arm(
        "LLM, LoRA",
        "pre-trained decoder layer, frozen, with trained low-rank adapters",
        "layer",
        low_rank=True,
        adds="the pre-trained layer, low-rank adapters trained",
        beside=3,
    ),
    "llm-mix": Arm(
        "LLM, mixed",
        "several pre-trained decoder layers side by side, frozen, averaged with learned weights",
        "layer",
        mixed=True,
        adds="several pre-trained layers side by side, averaged with learned weights",
        beside=6,
    ),
    "random-mix": Arm(
        "Random, mixed",
        "the same mixture of layers of random weights, frozen, averaged with learned weights",
        "layer",
        "random",
        mixed=True,
        adds="several random layers side by side, averaged with learned weights",
        beside=7,
    ),
    "llm-gated": Arm(
        "LLM, gated",
        "pre-trained decoder layer, frozen, added to the features through a learned gate",
        "layer",
        gated=True,
        adds="the pre-trained layer, added through a gate that starts at zero",
        beside=8,
    ),
    "random-gated": Arm(
        "Random, gated",
        "the same architecture, random weights, frozen, added through a learned gate",
        "layer",
        "random",
        gated=True,
        adds="a random layer, added through a gate that starts at zero",
        beside=9,
    ),
}


def ladder_steps() -> dict[str, str]:
    """Arms of the ladder in order, and what each has more than the one before."""
    steps = {arm.rung: name for name, arm in ARMS.items() if arm.rung is not None}
    return {steps[rung]: ARMS[steps[rung]].adds for rung in sorted(steps)}


def beside_ladder() -> dict[str, str]:
    """Arms that are no step of the ladder, in order, and what each has more than its foot."""
    others = {arm.beside: name for name, arm in ARMS.items() if arm.beside is not None}
    return {others[number]: ARMS[others[number]].adds for number in sorted(others)}


_TERM = re.compile(
    r"(?P<arm>[^\s\[\]@,()]+)(\[(?P<filters>[^\[\]]*)\])?(@(?P<site>[^\s\[\]@,()]+))?"
)


@dataclass(frozen=True)
class Term:
    """One arm, with the columns that select its rows; the site is one of them."""

    arm: str
    filters: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        site = "".join(f"@{value}" for column, value in self.filters if column == "site")
        rest = ",".join(f"{column}={value}" for column, value in self.filters if column != "site")
        return self.arm + (f"[{rest}]" if rest else "") + site


@dataclass(frozen=True)
class Condition:
    """A weighted sum of terms, as text and taken apart; with ``spread`` their SD, in each seed."""

    text: str
    terms: tuple[tuple[float, Term], ...]
    spread: bool = False


def parse_condition(text: str) -> Condition:
    """Take a condition apart; raises ConfigError that shows how one is written.

    >>> [(weight, str(term)) for weight, term in parse_condition("llm@after - llm@before").terms]
    [(1.0, 'llm@after'), (-1.0, 'llm@before')]
    """
    whole = re.fullmatch(r"sd\((.*)\)", text.strip())
    if whole:
        members = _split(whole[1])
        if len(members) < 2:
            raise ConfigError(f"'{text}': sd(…) is of at least two conditions, with commas between")
        spread = [(1 / len(members), _term(member.strip(), text)) for member in members]
        return Condition(" ".join(text.split()), tuple(spread), spread=True)
    pieces = re.split(r"\s([+-])\s", text.strip())
    signs = [1.0, *(1.0 if sign == "+" else -1.0 for sign in pieces[1::2])]
    terms: list[tuple[float, Term]] = []
    for sign, piece in zip(signs, pieces[::2], strict=True):
        inner = re.fullmatch(r"mean\((.*)\)", piece.strip())
        members = _split(inner[1]) if inner else [piece]
        terms += [(sign / len(members), _term(member.strip(), text)) for member in members]
    return Condition(" ".join(text.split()), tuple(terms))


def _split(text: str) -> list[str]:
    """Members between commas, of which those inside square brackets do not count."""
    return re.split(r",(?![^\[]*\])", text)


def _term(text: str, whole: str) -> Term:
    match = _TERM.fullmatch(text)
    if match is None:
        raise ConfigError(
            f"'{whole}' is not a condition: write an arm, as in llm, llm[layer=10], llm@after, "
            "or llm@after - llm@before"
        )
    filters = []
    for item in filter(None, (match["filters"] or "").split(",")):
        column, equals, value = item.partition("=")
        if not equals:
            raise ConfigError(f"'{whole}': write '{item}' as column=value")
        filters.append((column.strip(), value.strip()))
    if match["site"]:
        filters.append(("site", match["site"]))
    return Term(match["arm"], tuple(filters))


def by_condition(table: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """The table with each arm written as its condition: what deviates in a run follows the arm.

    The data set is a column of its own, and no part of the name. runs: a ``runs.csv``.
    """
    stored = runs["deviation"].astype(object).where(runs["deviation"].notna(), "")
    deviation = dict(zip(runs["run"], stored, strict=True))
    written = {
        run: ",".join(item for item in text.split(",") if item and not item.startswith("dataset="))
        for run, text in deviation.items()
    }
    suffix = table["run"].map(lambda run: f"[{written[run]}]" if written.get(run) else "")
    return table.assign(arm=table["arm"].astype(str) + suffix)
