"""Rows of weights and gates: how they go through a ``last.pt``, and to the loggers."""

from pathlib import Path

import pytest

from llm4seg_probe.config import Config
from llm4seg_probe.errors import CheckpointError
from llm4seg_probe.models.network import build_network
from llm4seg_probe.training.gates import gate_rows, resumed_gates, told_gates
from llm4seg_probe.training.loop import FolderWriter

ROWS = [
    {"epoch": 0, "layer": "3", "weight": 0.75},
    {"epoch": 0, "layer": "9", "weight": 0.25},
    {"epoch": 0, "layer": "", "gate": -0.5},
]


def test_rows_are_those_of_the_arms_parts(tiny_config: Config) -> None:
    def of(arm: str) -> list[dict]:
        return gate_rows(build_network(tiny_config.model_copy(update={"arm": arm})), 7)

    assert of("cnn") == of("llm") == of("random-frozen") == []
    assert of("random-gated") == [{"epoch": 7, "layer": "", "gate": 0.0}]
    assert of("llm-mix") == [{"epoch": 7, "layer": str(n), "weight": 0.25} for n in (1, 2, 3, 4)]


def test_loggers_are_told_numbers_by_name() -> None:
    assert told_gates(ROWS) == {"weight_3": 0.75, "weight_9": 0.25, "gate": -0.5}


def test_rows_go_on_where_a_training_goes_on(tmp_path: Path) -> None:
    def writer() -> FolderWriter:
        return FolderWriter(tmp_path, "discs", None, embed_layer=False)

    first, second = writer(), writer()
    first.gates = list(ROWS)
    second.load_state_dict(first.state_dict())
    assert second.gates == ROWS
    state = first.state_dict()
    del state["gates"]  # written by an earlier version
    second.load_state_dict(state)
    assert second.gates == []


@pytest.mark.parametrize(
    "rows",
    [
        "text",
        5,
        [{"epoch": 0, "layer": 3, "weight": 0.5}],
        [{"epoch": 0, "layer": "3", "weight": "much"}],
        [{"epoch": 0, "layer": "3", "weight": 0.5, "more": 1}],
        [["epoch"]],
    ],
)
def test_what_are_no_rows_is_refused(rows: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights and gates in its last.pt") as refused:
        resumed_gates(rows, tmp_path)
    assert "\n" not in str(refused.value)
