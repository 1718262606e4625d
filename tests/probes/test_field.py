"""The probe `field`: its table, its figure and its command."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import invoke, refused
from legible import legible
from matplotlib.colors import to_hex
from torch import nn

from llm4seg_probe.config import Config
from llm4seg_probe.data.batches import Batch
from llm4seg_probe.drawing.style import ARM_STYLES
from llm4seg_probe.errors import DataError, SiteError
from llm4seg_probe.models.network import build_network, frozen_decoder
from llm4seg_probe.probes.field import FIELD
from llm4seg_probe.probes.field import figure as field_figure
from llm4seg_probe.probes.field.table import bypassed, field_table, receptive_field
from llm4seg_probe.randomness import generator, seeded
from llm4seg_probe.tables import read_table, write_table

CENTRE = 3 * 6 + 3  # of a grid of 6 x 6, in raster order
ARMS = ("cnn", "llm")


def large(count: int = 2) -> torch.Tensor:
    """Images whose bottleneck is a grid of 6 x 6."""
    return torch.randn(count, 1, 96, 96, generator=generator("test", "field"))


def test_the_field_of_a_convolution_is_its_kernel() -> None:
    with seeded("test", "kernel"):
        network = nn.Conv2d(2, 1, (3, 5), padding=(1, 2)).eval()
    found = receptive_field(network, torch.randn(3, 2, 9, 9, generator=generator("test")))
    expected = torch.zeros(9, 9)
    expected[3:6, 2:7] = network.weight.detach()[0].abs().sum(0)
    for one in found:
        assert one.numpy() == pytest.approx(expected.numpy())


def test_the_field_of_two_convolutions_is_their_kernels_convolved() -> None:
    with seeded("test", "kernels"):
        network = nn.Sequential(
            nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.Conv2d(1, 1, 3, padding=1, bias=False)
        ).eval()
    first, second = (layer.weight.detach()[0, 0].double().numpy() for layer in network)
    expected = np.zeros((9, 9))
    for (a, b), (c, d) in ((p, q) for p in np.ndindex(3, 3) for q in np.ndindex(3, 3)):
        expected[2 + a + c, 2 + b + d] += first[a, b] * second[c, d]
    found = receptive_field(network, torch.zeros(1, 1, 9, 9))[0]
    assert found.numpy() == pytest.approx(np.abs(expected), abs=1e-6)


def test_a_causal_layer_sees_nothing_after_the_centre_and_a_bidirectional_one_does(run) -> None:
    decoder = frozen_decoder(run.network)
    assert decoder is not None
    causal = receptive_field(run.network, large(), "after", "before").flatten(1)
    assert causal.shape == (2, 36)
    assert (causal[:, CENTRE + 1 :] == 0).all()
    assert (causal[:, : CENTRE + 1] > 0).all()
    decoder.attention = "bidirectional"
    try:
        both = receptive_field(run.network, large(), "after", "before").flatten(1)
    finally:
        decoder.attention = "causal"
    assert (both > 0).all()


def test_adapters_see_the_centre_alone(tiny_config) -> None:
    network = build_network(tiny_config.model_copy(update={"arm": "adapters"})).eval()
    found = receptive_field(network, large(), "after", "before").flatten(1)
    assert found.gt(0).nonzero()[:, 1].tolist() == [CENTRE] * 2


def test_with_the_booster_bypassed_the_network_is_the_plain_one(
    run, plain_run, fingerprint
) -> None:
    before = fingerprint(run.network)
    plain = build_network(run.config.model_copy(update={"arm": "cnn"})).eval()
    state = {
        name.replace("encoder5.host.", "encoder5."): tensor
        for name, tensor in run.network.state_dict().items()
        if ".booster." not in name
    }
    plain.load_state_dict(state)
    with bypassed(run.network):
        found = receptive_field(run.network, large())
    assert found.numpy() == pytest.approx(receptive_field(plain, large()).numpy(), rel=1e-4)
    assert fingerprint(run.network) == before


@pytest.fixture(scope="module")
def measured(run, plain_run, some_batches):
    return field_table(run, some_batches, untrained=plain_run.network, images=5, null_images=2)


def test_the_table_has_a_row_per_image_and_state(measured, tmp_path) -> None:
    table, arrays = measured
    counts = table.groupby(["site", "wrt", "layer", "null"]).size().to_dict()
    assert counts == {
        ("logits", "input", "with", ""): 5,
        ("logits", "input", "bypassed", ""): 5,
        ("after", "before", "with", ""): 5,
        ("logits", "input", "none", "untrained"): 2,
    }
    assert (table["radius_50"] <= table["radius_90"]).all()
    tokens = table[table["wrt"] == "before"]
    assert tokens["after"].eq(0).all()
    write_table(table, tmp_path / "field.csv", FIELD)
    assert len(read_table(tmp_path / "field.csv", FIELD)) == len(table)
    assert arrays["fields"].shape == (4, 32, 32)
    assert arrays["field_size"].tolist() == [[32, 32], [32, 32], [2, 2], [32, 32]]
    for field, (height, width) in zip(arrays["fields"], arrays["field_size"], strict=True):
        assert field[:height, :width].sum() == pytest.approx(1, rel=1e-4)
        assert np.isfinite(field).sum() == height * width


def test_the_rows_are_those_of_the_field(run, some_batches, measured) -> None:
    table, _ = measured
    batch = some_batches[0]
    rows = table[(table["layer"] == "with") & (table["wrt"] == "input")].set_index("image")
    name = next(name for name in batch.names if name in rows.index)
    place = batch.names.index(name)
    found = receptive_field(run.network, batch.images[place : place + 1])[0].double()
    assert rows.loc[name, "mass"] == pytest.approx(found.sum().item(), rel=1e-4)
    flat = found.flatten()
    assert rows.loc[name, "before"] == pytest.approx(
        (flat[: 16 * 32 + 16].sum() / flat.sum()).item(), rel=1e-4
    )


def test_volumes_have_a_field() -> None:
    values = {"data": {"image_size": [16, 16, 16], "channels": 1}, "arm": "cnn"}

    @dataclasses.dataclass(frozen=True)
    class Known:
        name: str
        dataset: str
        arm: str
        seed: int
        config: Config
        network: nn.Module

    network = nn.Conv3d(1, 1, 3, padding=1, bias=False)
    nn.init.ones_(network.weight)
    run = Known("known", "made", "cnn", 0, Config.model_validate(values), network.eval())
    draws = torch.randn(1, 1, 6, 8, 10, generator=generator("test", "volume"))
    table, arrays = field_table(run, [Batch(draws, draws > 0, ("v",), ("g",))])
    assert table["layer"].tolist() == ["none"]
    assert table["radius_90"].item() == pytest.approx(3**0.5)
    assert table["before"].item() == pytest.approx(13 / 27)
    assert arrays["fields"].shape == (1, 8, 10)


def test_the_network_is_left_as_it_was(run, some_batches, fingerprint) -> None:
    before = fingerprint(run.network)
    field_table(run, some_batches[:1], ["logits", "after"], images=2)
    assert fingerprint(run.network) == before
    assert not some_batches[0].images.requires_grad


def test_bad_input_is_named(run, some_batches) -> None:
    with pytest.raises(SiteError, match=r"unknown site 'logit'\. Did you mean 'logits'\?"):
        field_table(run, some_batches, ["logit"])
    with pytest.raises(SiteError, match="no site to probe"):
        field_table(run, some_batches, [])
    with pytest.raises(DataError, match="there are no images to probe run llm-0 on"):
        field_table(run, [])


def field_arrays() -> dict[str, np.ndarray]:
    keys = [
        ("cnn", "input", "none", ""), ("llm", "input", "with", ""),
        ("llm", "input", "bypassed", ""), ("llm", "before", "with", ""),
        ("llm", "input", "with", "untrained"), ("llm", "input", "bypassed", "untrained"),
    ]  # fmt: skip
    fields = np.full((6, 9, 9), 1 / 81, np.float32)
    fields[3] = np.nan
    fields[3, :3, :3] = [[0.25, 0.25, 0.25], [0.25, 0, 0], [0, 0, 0]]
    names = ("arm", "wrt", "layer", "null")
    found = {f"field_{name}": np.array([key[i] for key in keys]) for i, name in enumerate(names)}
    site = np.array(["after" if key[1] == "before" else "logits" for key in keys])
    size = np.array([[3, 3] if key[1] == "before" else [9, 9] for key in keys])
    profiles = np.geomspace(1, 1e-3, 7)[None] * np.arange(1, 7)[:, None]
    return {**found, "field_site": site, "field_size": size, "fields": fields, "profiles": profiles}


def test_fields_are_powers_of_ten_and_zero_is_black() -> None:
    images = [image for axes in field_figure.figure(field_arrays()).axes for image in axes.images]
    assert [image.get_array().shape for image in images] == [(9, 9)] * 3 + [(3, 3)]
    assert images[0].get_array().min() == images[0].get_array().max() == 0
    assert images[3].get_array().tolist()[1:] == [[0, -5, -5], [-5, -5, -5]]
    lines = {
        line.get_gid(): line
        for axes in field_figure.figure(field_arrays()).axes
        for line in axes.lines
    }
    assert {"cnn-none-", "llm-with-", "llm-bypassed-", "llm-with-untrained"} <= set(lines)
    assert "llm-bypassed-untrained" not in lines
    assert lines["llm-with-"].get_ydata()[0] == pytest.approx(2)
    assert to_hex(lines["llm-with-"].get_color()) == ARM_STYLES["llm"].colour.lower()


@pytest.mark.slow
def test_the_command_writes_table_arrays_and_figure(
    trained: dict[str, Path], tmp_path: Path
) -> None:
    given = ("--ckpt", trained["cnn-0"], "--ckpt", trained["llm-0"], "--images", 3)
    result = invoke("field", *given, "--out", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {Path(path).stem for path in found["figures"]} == {"field"}
    frame = pd.read_csv(tmp_path / "field.csv")
    assert set(frame["arm"]) == {"cnn", "llm"}
    assert len(found["rows"]) == len(frame)
    with np.load(tmp_path / "field.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype.kind in "Uifu" for name in stored.files)


def test_the_command_refuses_in_one_line(trained: dict[str, Path], tmp_path: Path) -> None:
    assert "unknown site 'logit'. Did you mean 'logits'?" in refused(
        "field", "--ckpt", trained["cnn-0"], "--out", tmp_path, "--sites", "logit"
    )
    assert list(tmp_path.iterdir()) == []


def test_its_figures_are_legible_at_a_columns_width() -> None:
    legible(field_figure.figure(field_arrays()))
