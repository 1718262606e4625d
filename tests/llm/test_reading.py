"""Which layer is read, and what is said when it cannot be."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.decoder import load_decoder

NAME = "model.layers.{}.self_attn.q_proj.weight"


def load(folder, layer=2, **fields):
    return load_decoder(BoosterConfig(source=str(folder), layer=layer, **fields))


@pytest.fixture
def copy_of(model_folder, tmp_path):
    """A folder of one's own to break, in one file or in shards."""

    def make(sharded: bool = False, family: str = "llama") -> Path:
        return Path(shutil.copytree(model_folder(family, sharded=sharded), tmp_path / "model"))

    return make


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def shard_of(folder, name):
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][name]


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize(("layer", "index"), [(1, 0), (3, 2), (-1, 2), (-3, 0)])
def test_layers_count_from_1_and_negative_ones_from_the_end(layer, index, sharded, copy_of):
    folder = copy_of(sharded)
    tensors = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    decoder = load(folder, layer)
    assert torch.equal(
        decoder.state_dict()["layers.0.self_attn.q_proj.weight"], tensors[NAME.format(index)]
    )
    assert decoder.identity.layers == (index + 1,)


@pytest.mark.parametrize("layer", [0, 4, -4, (1, 17)])
def test_a_layer_out_of_range_names_the_range_and_the_command(layer, folder):
    number = layer[1] if isinstance(layer, tuple) else layer
    message = (
        f"layer is {number}, but {folder} has 3 layers. Choose 1 to 3, or -3 to -1 "
        f"(`llm4seg-probe llm show {folder}`)"
    )
    with pytest.raises(SourceError) as caught:
        load(folder, layer)
    assert str(caught.value) == message


def test_no_layer_at_all(folder):
    with pytest.raises(SourceError, match=r"no layer is named\. Choose 1 to 3 of"):
        load(folder, ())


def test_the_hash_is_over_sorted_names_dtypes_shapes_and_bytes(folder):
    tensors = load_file(Path(folder) / "model.safetensors")
    prefix, digest = "model.layers.1.", hashlib.sha256()
    for name in sorted(name for name in tensors if name.startswith(prefix)):
        array = tensors[name].numpy()
        digest.update(f"{name.removeprefix(prefix)} float32 {list(array.shape)}\n".encode())
        digest.update(array.tobytes())
    assert load(folder).identity.sha256 == digest.hexdigest()


def test_the_hash_does_not_depend_on_shards_precision_or_halves(model_folder):
    whole, shards = model_folder("llama"), model_folder("llama", sharded=True)
    hashes = {
        load(whole).identity.sha256,
        load(shards).identity.sha256,
        load(whole, layer_precision="bf16").identity.sha256,
        load_decoder(BoosterConfig(source=str(whole), layer=2), halves="mlp").identity.sha256,
    }
    assert len(hashes) == 1
    assert load(whole, layer=1).identity.sha256 not in hashes
    assert load(model_folder("llama", dtype=torch.bfloat16)).identity.sha256 not in hashes


def test_only_the_shards_of_the_layer_are_opened(copy_of):
    folder = copy_of(sharded=True)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {file for name, file in index.items() if name.startswith("model.layers.1.")}
    for file in set(index.values()) - needed:
        (folder / file).write_bytes(b"not a safetensors file")
    assert load(folder, 2).identity.layers == (2,)


def test_another_layer_than_the_expected_one_is_refused(folder):
    expected = load(folder, 2).identity.sha256
    booster = BoosterConfig(source=folder, layer=2)
    assert load_decoder(booster, expect_sha256=expected).identity.sha256 == expected
    with pytest.raises(SourceError, match=r"layer 3 of .* has the SHA-256 .*…, but .*… is expect"):
        load_decoder(BoosterConfig(source=folder, layer=3), expect_sha256=expected)


def test_a_folder_without_config(copy_of):
    folder = copy_of()
    (folder / "config.json").unlink()
    with pytest.raises(SourceError, match=r"holds no config\.json; a decoder layer comes from"):
        load(folder)


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_config_that_is_no_config(content, copy_of):
    folder = copy_of()
    (folder / "config.json").write_text(content)
    with pytest.raises(SourceError, match=r"config\.json: not readable \("):
        load(folder)


def test_a_config_with_an_impossible_value(copy_of):
    folder = copy_of()
    edit_config(folder, hidden_size="wide")
    with pytest.raises(SourceError, match=r"hidden_size in its config\.json is 'wide'"):
        load(folder)


def test_a_family_that_is_not_supported(copy_of):
    folder = copy_of()
    edit_config(folder, model_type="qwen")
    with pytest.raises(
        SourceError, match=r"unknown architecture 'qwen'. Did you mean 'qwen\d'\? V"
    ):
        load(folder)


def test_quantised_weights(copy_of):
    folder = copy_of()
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(SourceError, match="holds quantised weights; give the model before"):
        load(folder)


def test_a_folder_with_pickled_weights_alone(copy_of):
    folder = copy_of()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"holds no model\.safetensors and no .* are not opened"):
        load(folder)


def test_a_missing_tensor(copy_of):
    folder = copy_of()
    tensors = load_file(folder / "model.safetensors")
    del tensors[NAME.format(1)]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"lacks the tensor model\.layers\.1\.self_attn\.q_proj"):
        load(folder, 2)
    assert load(folder, 3).identity.layers == (3,)


def test_a_tensor_of_another_shape(copy_of):
    folder = copy_of()
    edit_config(folder, intermediate_size=64)
    with pytest.raises(SourceError, match=r"has the shape \[48, 32\], but .* makes it \[64, 32\]"):
        load(folder)


def test_a_tensor_that_is_quantised(copy_of):
    folder = copy_of()
    tensors = load_file(folder / "model.safetensors")
    tensors[NAME.format(1)] = tensors[NAME.format(1)].to(torch.float8_e4m3fn)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"q_proj\.weight is stored as float8_e4m3fn; give a mod"):
        load(folder)


def test_a_tensor_that_the_config_does_not_know(copy_of):
    folder = copy_of(family="qwen2")
    edit_config(folder, model_type="llama")
    with pytest.raises(SourceError, match=r"layer 2 also holds self_attn\.k_proj\.bias, .* belong"):
        load(folder)


def test_a_missing_shard(copy_of):
    folder = copy_of(sharded=True)
    shard = shard_of(folder, NAME.format(1))
    shard.unlink()
    with pytest.raises(SourceError, match=rf"lacks {shard.name}, which holds model\.layers\.1\."):
        load(folder)


@pytest.mark.parametrize("keep", [0.9, 0.01, 0])
@pytest.mark.parametrize("sharded", [False, True])
def test_a_truncated_file(sharded, keep, copy_of):
    folder = copy_of(sharded)
    path = shard_of(folder, NAME.format(1)) if sharded else folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(
        SourceError, match=rf"{path.name} is not a whole safetensors file \(.*fetch"
    ):
        load(folder)


def test_an_index_that_points_to_the_wrong_shard(copy_of):
    folder = copy_of(sharded=True)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    wrong = index["weight_map"]["model.embed_tokens.weight"]
    index["weight_map"][NAME.format(1)] = wrong
    path.write_text(json.dumps(index))
    with pytest.raises(SourceError, match=rf"{wrong} is not what its index says"):
        load(folder)


def test_an_index_without_tensors(copy_of):
    folder = copy_of(sharded=True)
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(SourceError, match="names no tensors"):
        load(folder)


def test_weights_that_are_no_decoder(copy_of):
    folder = copy_of()
    save_file({"encoder.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"holds no tensors named model\.layers\.N"):
        load(folder)


def test_a_final_norm_that_is_missing(copy_of):
    folder = copy_of()
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors")
    assert load(folder).norm is None
    with pytest.raises(SourceError, match=r"lacks the tensor model\.norm\.weight"):
        load(folder, final_norm=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "smolm2-135m",
            r"unknown source 'smolm2-135m'. Did you mean 'smollm2-135m'\? Valid: .* Hub",
        ),
        ("./nowhere", r"no such folder: \./nowhere"),
        ("/nowhere/at/all", "no such folder: /nowhere/at/all"),
    ],
)
def test_a_source_that_is_none(source, message):
    with pytest.raises(SourceError, match=message):
        load(source)
