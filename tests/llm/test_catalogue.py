"""What is said of a source without building anything from it."""

from __future__ import annotations

import shutil

import pytest

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.catalogue import fetch_source, show_source
from llm4seg_probe.llm.decoder import load_decoder

WINDOWS = {
    "llama": [None, None, None],
    "qwen2": [None, 8, 8],
    "qwen3": [None, None, None],
    "mistral": [8, 8, 8],
    "gemma3_text": [8, None, 8],
}


@pytest.mark.parametrize("family", WINDOWS)
def test_a_folder_is_shown_with_the_facts_and_hashes_of_its_layers(family, model_folder):
    folder = str(model_folder(family))
    shown = show_source(folder)
    assert (shown.architecture, shown.depth, shown.width) == (family, 3, 32)
    assert (shown.heads, shown.key_value_heads, shown.mlp_width) == (4, 2, 48)
    assert shown.head_width == (16 if family in ("qwen3", "gemma3_text") else 8)
    assert [layer.layer for layer in shown.layers] == [1, 2, 3]
    assert [layer.window for layer in shown.layers] == WINDOWS[family]
    for layer in shown.layers:
        decoder = load_decoder(BoosterConfig(source=folder, layer=layer.layer))
        assert layer.sha256 == decoder.identity.sha256
        assert layer.parameters == sum(p.numel() for p in decoder.parameters())


def test_layers_that_are_not_here_have_no_hash(model_folder, tmp_path):
    config = model_folder("llama") / "config.json"
    shutil.copy(config, tmp_path)
    assert [layer.sha256 for layer in show_source(str(tmp_path)).layers] == [None, None, None]


def test_fetching_a_folder_gives_the_folder_and_checks_the_layer(model_folder):
    folder = model_folder("llama", sharded=True)
    assert fetch_source(str(folder), [2]) == folder
    with pytest.raises(SourceError, match=r"layer is 9, but .* has 3 layers"):
        fetch_source(str(folder), [9])
