"""From the last layer to words: the logits are those of the full model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.decoder import load_decoder
from llm4seg_probe.llm.embedded import SMOLLM2
from llm4seg_probe.llm.vocabulary import read_vocabulary

FAMILIES = ["llama", "qwen2", "qwen3", "mistral", "gemma3_text"]  # Gemma's are tied


@pytest.fixture
def with_words(tmp_path):
    """A function (folder) -> a copy with a tokenizer of the words w0, w1, …"""

    def copied(folder):
        target = tmp_path / "model"
        shutil.copytree(folder, target)
        words = {f"w{number}": number for number in range(40)}
        Tokenizer(WordLevel(words, unk_token="w0")).save(str(target / "tokenizer.json"))
        return target

    return copied


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def streams_and_logits(folder):
    """What leaves the last layer of the full model, and its logits."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    seen = []
    hook = model.model.layers[-1].register_forward_hook(lambda _m, _i, out: seen.append(out))
    with torch.no_grad():
        logits = model(torch.arange(2, 26)[None]).logits
    hook.remove()
    return seen[0], logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_those_of_the_full_model(family, model_folder, with_words):
    folder = with_words(model_folder(family))
    if family == "gemma3_text":
        change_config(folder, final_logit_softcapping=2.0)
    stream, logits = streams_and_logits(folder)
    vocabulary = read_vocabulary(str(folder))
    assert (vocabulary.size, vocabulary.width) == (40, 32)
    assert vocabulary.source == str(folder)
    found = vocabulary.logits(stream)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert (found - logits).abs().max() < 1e-5
    assert vocabulary.words([3, 39]) == ["w3", "w39"]


def test_a_vocabulary_in_half_precision_is_read_in_single(model_folder, with_words):
    folder = with_words(model_folder("llama", dtype=torch.bfloat16))
    vocabulary = read_vocabulary(str(folder))
    head = load_file(folder / "model.safetensors")["lm_head.weight"]
    assert torch.equal(vocabulary.unembedding, head.float())
    assert vocabulary.logits(torch.ones(1, 32)).dtype == torch.float32


def test_only_the_shards_that_hold_it_are_needed(model_folder, with_words):
    folder = with_words(model_folder("llama", sharded=True))
    stream, logits = streams_and_logits(folder)
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    kept = {index["model.norm.weight"], index["lm_head.weight"]}
    others = set(index.values()) - kept
    assert others
    for name in others:
        (folder / name).unlink()
    assert (read_vocabulary(str(folder)).logits(stream) - logits).abs().max() < 1e-5


def test_a_head_inside_a_larger_model_is_found(model_folder, with_words):
    folder = with_words(model_folder("llama"))
    path = folder / "model.safetensors"
    expected = load_file(path)["lm_head.weight"]
    save_file({f"language_model.{name}": t for name, t in load_file(path).items()}, path)
    assert torch.equal(read_vocabulary(str(folder)).unembedding, expected)


def test_what_is_missing_is_said_in_one_line(model_folder, with_words):
    plain = model_folder("llama")
    with pytest.raises(SourceError, match=r"holds no tokenizer\.json, which says what its words"):
        read_vocabulary(str(plain))
    folder = with_words(plain)
    path = folder / "model.safetensors"
    whole = load_file(path)
    save_file({name: t for name, t in whole.items() if name != "lm_head.weight"}, path)
    with pytest.raises(SourceError, match=r"lacks the tensor lm_head\.weight"):
        read_vocabulary(str(folder))
    save_file(whole, path)
    change_config(folder, vocab_size=41)
    with pytest.raises(SourceError, match=r"lm_head\.weight has the shape \[40, 32\]"):
        read_vocabulary(str(folder))
    change_config(folder, vocab_size=40)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError, match=r"tokenizer\.json is not a readable tokenizer"):
        read_vocabulary(str(folder))


@pytest.mark.slow
def test_the_last_layer_of_smollm2_gives_the_logits_and_words_of_the_full_model():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = SMOLLM2.file("model.safetensors").parent
    full = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa").eval()
    prompt = AutoTokenizer.from_pretrained(folder)("The capital of France is", return_tensors="pt")
    seen = []
    last = full.model.layers[29]
    hook = last.register_forward_hook(lambda _m, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        expected = full(**prompt).logits
    hook.remove()
    before, after = seen[0]
    decoder = load_decoder(BoosterConfig(layer=30, position="rope"))
    vocabulary = read_vocabulary("smollm2-135m")
    with torch.no_grad():
        stream = decoder(before, (1, before.shape[1]))
    assert torch.equal(stream, after)
    logits = vocabulary.logits(stream)
    assert (logits - expected).abs().max() < 1e-4
    assert vocabulary.words([int(logits[0, -1].argmax())]) == [" Paris"]
