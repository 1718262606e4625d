import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from llm4seg_probe.cli.app import app
from llm4seg_probe.config import Config, to_yaml
from llm4seg_probe.errors import CheckpointError, ConfigError, DataError, TrainingError
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.models.backbones import BACKBONES
from llm4seg_probe.models.network import frozen_decoder
from llm4seg_probe.models.reference import LANGUAGE_MODELS
from llm4seg_probe.randomness import seeded
from llm4seg_probe.training import checkpoint
from llm4seg_probe.training.published_checkpoint import PUBLISHED_ARMS, convert_checkpoint
from llm4seg_probe.training.stored_run import load
from llm4seg_probe.training.train import train

State = dict[str, Tensor]


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one line with which a command ends in exit code 2."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


def written(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


@pytest.fixture(scope="module")
def plain() -> State:
    """State dict of a narrow network of the published code, without a layer."""
    with seeded("tests", "conversion"):
        return BACKBONES["cmunext"].build(3, 1, (4, 8, 8, 8, 8)).state_dict()


@pytest.fixture
def boosted(
    plain: State, tiny_llm: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> State:
    """The same with a layer of a small language model, known to the converter."""
    values = json.loads((tiny_llm / "config.json").read_text())
    monkeypatch.setitem(LANGUAGE_MODELS, "toy/llama", values | {"num_hidden_layers": 16})
    layer = load_decoder(tiny_config.booster).layers[0].state_dict()
    with seeded("tests", "adapters"):
        adapters = {"adapter1": nn.Linear(8, 32), "adapter2": nn.Linear(32, 8)}
    return {
        **plain,
        **{f"llm4seg.llm.{name}": tensor for name, tensor in layer.items()},
        **{
            f"llm4seg.{name}.{key}": tensor
            for name, linear in adapters.items()
            for key, tensor in linear.state_dict().items()
        },
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three colour photographs of a bright square, with masks."""
    folder = tmp_path_factory.mktemp("pictures")
    draw = np.random.default_rng(1)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for index in range(3):
        mask = np.zeros((48, 40), np.uint8)
        mask[10:30, 5 + index : 30] = 255
        image = draw.integers(0, 120, (48, 40, 3)) + mask[..., None] // 2
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / f"p{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{index}.png")
    return folder


@pytest.mark.parametrize(
    "name",
    ["cnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "deepseek"))],
)
def test_the_golden_networks_give_their_logits_as_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "models")
    from golden_formula import golden, golden_input, golden_state

    fields = golden(name)
    reference = written(golden_state(fields), tmp_path / "reference.pth")
    found = convert_checkpoint(reference, tmp_path / "run.pt")
    reference.unlink()
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "empty"))  # no source to go back to
    moved = (tmp_path / "run.pt").rename(tmp_path / "elsewhere.pt")
    run = load(moved)
    with torch.no_grad():
        logits = run.network(golden_input())[0, 0]
    close = {"atol": 1e-4, "rtol": 1e-4}
    torch.testing.assert_close(logits[::16, ::16], torch.tensor(fields["logits_16"]), **close)
    torch.testing.assert_close(logits.mean(), torch.tensor(fields["logits_mean"]), **close)
    assert found.parameters == sum(parameter.numel() for parameter in run.network.parameters())


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "model", "module"])
def test_each_way_of_keeping_a_state_dict_gives_the_same_run(
    wrap: str, boosted: State, tmp_path: Path
) -> None:
    contents: dict[str, Any] = {
        "plain": boosted,
        "state_dict": {"epoch": 3, "state_dict": boosted},
        "model": {"model": boosted, "optimizer": {"lr": 0.1}},
        "module": {f"module.{name}": tensor for name, tensor in boosted.items()},
    }
    convert_checkpoint(written(contents[wrap], tmp_path / "theirs.pth"), tmp_path / "run.pt")
    run = load(tmp_path / "run.pt")
    assert (run.name, run.arm, run.seed, run.epoch) == ("theirs", "llm", 41, None)
    assert (run.dataset, run.split.name, run.config.data.image_size) == (
        "unknown", "unknown", (256, 256),
    )  # fmt: skip
    state = run.network.state_dict()
    layer = boosted["llm4seg.llm.mlp.up_proj.weight"]
    assert torch.equal(state["encoder5.booster.middle.layers.0.mlp.up_proj.weight"], layer)
    assert torch.equal(state["stem.conv.0.weight"], boosted["stem.conv.0.weight"])


@pytest.mark.parametrize("arm", [arm for arm in PUBLISHED_ARMS if arm != "cnn"])
def test_the_arm_is_what_the_user_says(arm: str, boosted: State, tmp_path: Path) -> None:
    reference = written(boosted, tmp_path / "theirs.pth")
    result = invoke("convert", reference, "--out", tmp_path / "run.pt", "--arm", arm, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    trained = arm in ("llm-trainable", "transformer")
    layer = sum(t.numel() for name, t in boosted.items() if name.startswith("llm4seg.llm."))
    assert found["parameters"] - found["trainable"] == (0 if trained else layer)
    assert (found["arm"], found["source"], found["layer"]) == (arm, "toy/llama", 15)
    run = load(tmp_path / "run.pt")
    decoder = frozen_decoder(run.network)
    assert (decoder is None) == trained
    if decoder is not None:
        assert decoder.identity.sha256 == decoder.fingerprint()
    # The layer is stored once, also where it is in the state as well.
    assert (tmp_path / "run.pt").stat().st_size < 1.3 * reference.stat().st_size


def test_probes_open_it_with_data_and_say_what_is_missing_without(
    boosted: State, pictures: Path, tmp_path: Path
) -> None:
    reference = written(boosted, tmp_path / "theirs.pth")
    result = invoke("convert", reference, "--out", tmp_path / "new" / "run.pt")
    assert result.exit_code == 0, result.output
    assert "Arm llm, layer 15 of toy/llama" in result.stdout
    assert "add --data FOLDER" in result.stdout
    ckpt = ("--ckpt", tmp_path / "new" / "run.pt", "--out", tmp_path / "out")
    for command, table in (("rank", "rank.csv"), ("maps", "maps.csv"), ("evaluate", "scores.csv")):
        result = invoke(command, *ckpt, "--data", pictures)
        assert result.exit_code == 0, result.output
        rows = pd.read_csv(tmp_path / "out" / table, keep_default_na=False)
        assert {"p0", "p1", "p2"} == set(rows["image"]) - {""}
        assert set(rows["run"]) == {"theirs"}
        assert "add --data FOLDER" in refused(command, *ckpt)
    run = load(tmp_path / "new" / "run.pt")
    for ask in (run.images, run.collection):
        with pytest.raises(DataError, match="does not say which images it was trained on: add --d"):
            ask()


class Exploit:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.trace}",)


def test_files_that_are_no_checkpoint_are_refused(plain: State, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "run.pt")
    trace = tmp_path / "executed"
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Exploit(trace)))
    written({"state_dict": Exploit(trace)}, tmp_path / "code.pth")
    (tmp_path / "text.pth").write_text("weights")
    written({"epoch": 3, "weights": plain}, tmp_path / "odd.pth")
    written({}, tmp_path / "empty.pth")
    written([1], tmp_path / "list.pth")
    for name, message in [
        ("none.pth", "none.pth does not exist"),
        ("pickle.pth", "is a pickle, which could run code"),
        ("code.pth", "refused and nothing in it was run"),
        ("text.pth", "is no checkpoint: it is not a torch archive"),
        ("odd.pth", "'epoch' is no tensor. Expected are names with tensors"),
        ("empty.pth", "holds no state dict: it is empty"),
        ("list.pth", "holds a list, no checkpoint"),
        (".", "is a folder"),
    ]:
        assert message in refused("convert", tmp_path / name, *out)
    assert not trace.exists()
    assert not (tmp_path / "run.pt").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"stem.conv.0.weight": None},
            "theirs.pth: no checkpoint .* it lacks 'stem.conv.0.weight'",
        ),
        ({"Up5.up.1.bias": None}, "the first of them Up5.up.1.bias"),
        ({"llm4seg.adapter1.bias": None}, "the first of them encoder5.booster.adapter1.bias"),
        ({"llm4seg.llm.mlp.up_proj.weight": None}, "differs is layers.0.mlp.up_proj.weight"),
        (
            {"llm4seg.llm.mlp.gate_proj.weight": torch.zeros(4, 2)},
            "of no language model of the pub",
        ),
        (
            {"stem.conv.0.weight": torch.zeros(4, 2, 3, 3)},
            "channels is 2, but normalisation 'reference' has statistics",
        ),
    ],
)
def test_other_networks_are_refused_by_name(
    change: dict[str, Tensor | None], message: str, boosted: State, tmp_path: Path
) -> None:
    state = {name: tensor for name, tensor in {**boosted, **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=message):
        convert_checkpoint(written(state, tmp_path / "theirs.pth"), tmp_path / "run.pt")


def test_what_cannot_be_converted_is_said(plain: State, tmp_path: Path) -> None:
    reference = written(plain, tmp_path / "theirs.pth")
    with pytest.raises(CheckpointError, match="has no decoder layer: it cannot be of arm 'llm'"):
        convert_checkpoint(reference, tmp_path / "run.pt", "llm")
    with pytest.raises(ConfigError, match="unknown arm of the published code 'adapters'"):
        convert_checkpoint(reference, tmp_path / "run.pt", "adapters")
    convert_checkpoint(reference, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=r"run.pt is a run of llm4seg-probe already"):
        convert_checkpoint(tmp_path / "run.pt", tmp_path / "again.pt")
    with pytest.raises(CheckpointError, match=r"run.pt exists already: name a new file"):
        convert_checkpoint(reference, tmp_path / "run.pt")


@pytest.fixture
def own_source(tiny_llm: Path, tmp_path: Path) -> Path:
    """A copy of the tiny language model, in bf16, that may be deleted."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_llm).to(torch.bfloat16)
    model.save_pretrained(tmp_path / "source")
    return tmp_path / "source"


Vary = Callable[..., Config]


@pytest.fixture
def vary(tiny_config: Config, own_source: Path) -> Vary:
    def changed(arm: str, **booster: Any) -> Config:
        values = tiny_config.model_dump()
        values |= {"arm": arm, "training": {"epochs": 1}}
        values["booster"] |= {"source": str(own_source), "layer": [2, -1], **booster}
        return Config.model_validate(values)

    return changed


@pytest.mark.parametrize(
    ("arm", "booster"),
    [
        ("llm", {}),
        ("llm", {"layer_precision": "bf16", "final_norm": True}),
        ("llm-lora", {}),
        ("transformer", {}),
    ],
)
def test_an_embedded_layer_opens_without_its_source(
    arm: str, booster: dict[str, Any], vary: Vary, own_source: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(to_yaml(vary(arm, **booster)))
    result = invoke("train", config, "--out", tmp_path / "r", "--embed-llm")
    assert result.exit_code == 0, result.output
    images = torch.randn((2, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    moved = Path(shutil.copy(tmp_path / "r" / "run.pt", tmp_path / "elsewhere.pt"))

    content = checkpoint.read(moved)
    checkpoint.save({**content, "embedded": None}, tmp_path / "by-source.pt")
    by_source = load(tmp_path / "by-source.pt")
    shutil.rmtree(own_source)
    run = load(moved)
    with torch.no_grad():
        assert torch.equal(run.network(images), by_source.network(images))
    decoders = [frozen_decoder(one.network) for one in (run, by_source)]
    assert [d and d.identity for d in decoders] == [decoders[1] and decoders[1].identity] * 2

    name = next(iter(content["embedded"]["tensors"]))
    content["embedded"]["tensors"][name].view(-1)[0] += 1
    checkpoint.save(content, moved)
    with pytest.raises(CheckpointError, match="the decoder layer inside it was changed since"):
        load(moved)


def test_what_cannot_be_embedded_or_resumed_is_said(vary: Vary, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="arm 'mlp' has no decoder layer to embed"):
        train(vary("mlp"), tmp_path / "mlp", embed_layer=True)
    config = vary("llm")
    train(config, tmp_path / "llm", embed_layer=True)
    with pytest.raises(TrainingError, match="was begun with --embed-llm: a run is resumed as it"):
        train(config, tmp_path / "llm", resume=True)
    assert train(config, tmp_path / "llm", resume=True, embed_layer=True).is_file()


def test_runs_from_before_there_was_embedding_open(vary: Vary, tmp_path: Path) -> None:
    path = train(vary("llm"), tmp_path / "llm")
    content = checkpoint.read(path)
    assert content.pop("embedded") is None
    checkpoint.save(content, path)
    assert load(path).arm == "llm"
