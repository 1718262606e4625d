"""The probe `attribute` with random weights: which maps change, and by how much."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke
from legible import legible
from torch import Tensor, nn

import llm4seg_probe as lp
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.attribute import RANDOMISED, Options
from llm4seg_probe.probes.attribute import figure as attribute_figure
from llm4seg_probe.probes.attribute.randomised import (
    Part,
    parts_from_the_top,
    random_weights,
)
from llm4seg_probe.probes.attribute.table import attribution_tables
from llm4seg_probe.probes.result import StoredResult
from llm4seg_probe.tables import conform, read_table, write_table

ARMS = ("cnn", "llm")
FAST = Options(
    target="mask", steps=4, window=16, boxes=2, changes=1, images=3, randomise=True,
    methods=("integrated-gradients",),
)  # fmt: skip


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, Tensor], network: nn.Module) -> set[str]:
    now = network.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}


def test_the_parts_go_from_the_output_down_and_hold_every_weight_once(run, some_batches) -> None:
    parts = parts_from_the_top(run.network, some_batches[0].images)
    paths = [part.path for part in parts]
    assert paths[0] == "Conv_1x1"
    assert paths[-1] == "stem"
    booster = [f"encoder5.booster.{name}" for name in ("adapter2", "middle", "adapter1")]
    start = paths.index(booster[0])
    assert paths[start : start + 3] == booster
    held = [parameter for part in parts for _, parameter in part.parameters(run.network)]
    assert len(held) == len(set(held)) == len(list(run.network.parameters()))


def test_a_network_in_one_module_is_parted_and_own_weights_are_a_part() -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 2, 1)
            self.scale = nn.Parameter(torch.ones(1))
            self.idle = nn.Conv2d(1, 1, 1)  # never runs

        def forward(self, images: Tensor) -> Tensor:
            return self.first(images) * self.scale

    network = nn.Sequential(nn.Identity(), nn.Sequential(Inner()))
    parts = parts_from_the_top(network, torch.zeros(1, 1, 4, 4))
    assert parts == [Part("1.0", recurse=False), Part("1.0.first")]
    network = nn.Sequential(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1)))
    found = parts_from_the_top(network, torch.zeros(1, 1, 4, 4))
    assert [part.path for part in found] == ["0.2", "0.0"]
    parts = parts_from_the_top(Inner(), torch.zeros(1, 1, 4, 4))
    assert parts == [Part("", recurse=False), Part("first")]


def test_weights_are_drawn_with_their_own_mean_and_sd_and_put_back(run, some_batches) -> None:
    parts = parts_from_the_top(run.network, some_batches[0].images)
    before = state(run.network)
    layer = next(part for part in parts if part.path.endswith(".middle"))
    with random_weights(run.network, [layer]) as tensors:
        names = changed(before, run.network)
        assert tensors == len(layer.parameters(run.network))
        assert names
        assert all(name.startswith(layer.path) for name in names)
        name = next(name for name in names if name.endswith("gate_proj.weight"))
        drawn, own = run.network.state_dict()[name], before[name]
        assert drawn.std().item() == pytest.approx(own.std().item(), rel=0.1)
        assert abs(np.corrcoef(drawn.flatten(), own.flatten())[0, 1]) < 0.1
        first = state(run.network)
    assert changed(before, run.network) == set()
    with random_weights(run.network, [parts[0], layer]):
        assert changed(first, run.network) <= {"Conv_1x1.weight", "Conv_1x1.bias"}
    with pytest.raises(RuntimeError), random_weights(run.network, parts):
        raise RuntimeError
    assert changed(before, run.network) == set()


class Pixelwise(nn.Module):
    """A weight for each pixel: what it answers rests on its weights alone."""

    def __init__(self, learned: bool) -> None:
        super().__init__()
        shape = (1, 1, 16, 16) if learned else (1,)
        draws = torch.Generator().manual_seed(0)
        self.field = nn.Parameter(1 + torch.rand(shape, generator=draws))
        self.head = nn.Conv2d(1, 1, 1)
        with torch.no_grad():
            self.head.weight.fill_(1.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.field * images)


def similarities(learned: bool) -> pd.DataFrame:
    draws = torch.Generator().manual_seed(1)
    images = torch.ones(3, 1, 16, 16) if learned else torch.randn(3, 1, 16, 16, generator=draws)
    masks = torch.ones(3, 1, 16, 16)
    found = lp.attribute(
        Pixelwise(learned), images, masks, target="mask", steps=2, boxes=2, changes=1,
        methods=("integrated-gradients",), randomise=True,
    )  # fmt: skip
    return found.tables[RANDOMISED.name]


def test_a_map_of_the_image_alone_does_not_change_and_one_of_the_weights_does() -> None:
    blind = similarities(learned=False)
    own = blind[blind["null"] == ""]
    assert own["similarity"].to_numpy() == pytest.approx(1, abs=1e-6)
    null = blind[blind["null"] == "permuted"]["similarity"]
    assert null.abs().max() < 4 / 16  # four standard deviations of 256 positions
    learned = similarities(learned=True)
    own = learned[learned["null"] == ""].set_index(["randomised", "part", "image"])["similarity"]
    own = own.sort_index()
    # The network's own weights are used before those of its head, and it finishes after it.
    assert own["single", "head"].to_numpy() == pytest.approx(1, abs=1e-6)
    assert own.xs("network", level="part").abs().max() < 4 / 16


@pytest.fixture(scope="module")
def tables(run, some_batches):
    table, _, further = attribution_tables(run, some_batches, FAST)
    return table, further[RANDOMISED.name]


def test_a_row_for_each_part_way_image_and_null(run, some_batches, tables, tmp_path) -> None:
    _, table = tables
    parts = parts_from_the_top(run.network, some_batches[0].images)
    own = table[table["null"] == ""]
    assert len(own) == 2 * len(parts) * 3
    assert own["order"].max() == len(parts)
    by_order = own.drop_duplicates(["order", "part"]).sort_values("order")["part"]
    assert by_order.tolist() == [part.path for part in parts] or set(by_order) == {
        part.path for part in parts
    }
    assert set(table.loc[table["null"] != "", "null"]) == {"other-image", "permuted"}
    assert table["similarity"].dropna().between(-1, 1).all()
    first = own[own["order"] == 1].pivot(index="image", columns="randomised", values="similarity")
    assert first["cascade"].tolist() == first["single"].tolist()
    tensors = own.groupby(["randomised", "order"])["tensors"].first()
    assert tensors["cascade"].iloc[-1] == tensors["single"].sum()
    assert tensors["cascade"].iloc[-1] == len(list(run.network.parameters()))
    write_table(table, tmp_path / RANDOMISED.name, RANDOMISED)
    assert read_table(tmp_path / RANDOMISED.name, RANDOMISED).equals(table)


def test_the_network_is_left_as_it_was_and_nothing_is_added_unasked(
    run, some_batches, fingerprint, tables
) -> None:
    before = fingerprint(run.network)
    table, _, further = attribution_tables(
        run, some_batches, dataclasses.replace(FAST, randomise=False)
    )
    assert further == {}
    pd.testing.assert_frame_equal(table, tables[0])
    attribution_tables(run, some_batches, dataclasses.replace(FAST, images=1))
    assert fingerprint(run.network) == before


def randomised_rows() -> pd.DataFrame:
    rows = []
    for place, arm in enumerate(ARMS):
        keys = {"run": f"{arm}-0", "dataset": "d", "arm": arm, "seed": 0, "site": "input",
                "method": "occlusion", "class": "c", "group": "g", "tensors": 1}  # fmt: skip
        for image in ("i", "j"):
            for order in range(1, 7):
                for mode in ("cascade", "single"):
                    found = 0.9 - (0.15 * order if mode == "cascade" else 0.1) - 0.1 * place
                    rows.append({**keys, "randomised": mode, "order": order, "part": f"p{order}",
                                 "null": "", "image": image, "similarity": found})  # fmt: skip
            for null, found in (("other-image", 0.2), ("permuted", 0.0)):
                rows.append({**keys, "randomised": "", "order": 0, "part": "", "null": null,
                             "image": image, "similarity": found})  # fmt: skip
    return conform(pd.DataFrame(rows), RANDOMISED)


def test_the_curve_begins_at_one_and_falls_from_the_output_down() -> None:
    (axes,) = attribute_figure.randomised_figure(randomised_rows()).axes
    lines = {line.get_gid(): line for line in axes.lines}
    assert list(lines["cnn-cascade"].get_xdata()) == list(range(7))
    assert list(lines["cnn-cascade"].get_ydata()) == pytest.approx(
        [1, *(0.9 - 0.15 * order for order in range(1, 7))]
    )
    assert list(lines["llm-single"].get_ydata()) == pytest.approx([0.7] * 6)
    legible(attribute_figure.randomised_figure(randomised_rows()))


def test_the_command_writes_the_second_table_and_its_curve(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    result = invoke(
        "attribute", "--ckpt", trained["cnn-0"], "--target", "mask", "--method", "gradcam",
        "--site", "after", "--images", 2, "--boxes", 1, "--changes", 1, "--randomise", "--out",
        tmp_path, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert Path(found["randomised"]).name == RANDOMISED.name
    assert "attribution-randomised" in {Path(path).stem for path in found["figures"]}
    probe = registry.find("attribute")
    assert RANDOMISED.name in StoredResult.read(probe, tmp_path).tables
    # Results without it, of an earlier version too, are read and drawn.
    (tmp_path / RANDOMISED.name).unlink()
    stored = StoredResult.read(probe, tmp_path)
    assert RANDOMISED.name not in stored.tables
    assert "attribution-randomised" not in stored.figures()
