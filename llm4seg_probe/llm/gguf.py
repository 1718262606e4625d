"""A GGUF file as a folder in Hugging Face layout; run as ``python -m`` in a process of its own."""

from __future__ import annotations

import functools
import json
import shutil
import sys
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from llm4seg_probe.llm.architectures import config_from
from llm4seg_probe.llm.embedded import GGUF, MANIFEST, WEIGHTS
from llm4seg_probe.llm.stored_weights import sha256_of_tensors
from llm4seg_probe.storage import atomically, write_json


def convert_gguf(config_file: Path, source: Path, target: Path, package_sha256: str) -> None:
    """Dequantise the GGUF file in ``source`` into float32 safetensors, config and tokenizer.

    Last comes the manifest: the package's hash, the size of the weights' file, and the hash of
    each layer, by which a layer that is read later is verified.
    """
    config = config_from(json.loads(config_file.read_text(encoding="utf-8")), source.name)
    network = AutoModelForCausalLM.from_pretrained(
        source, config=config, gguf_file=GGUF, dtype=torch.float32
    )
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)
    # lm_head is the embedding again (tied), and stays out of files that transformers writes, too.
    tensors = {
        name: tensor.contiguous()
        for name, tensor in network.state_dict().items()
        if name != "lm_head.weight"
    }
    with atomically(target / WEIGHTS) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
    shutil.copyfile(config_file, target / "config.json")
    layers = enumerate(network.model.layers, start=1)
    manifest = {
        "package_sha256": package_sha256,
        "bytes": (target / WEIGHTS).stat().st_size,
        "layers": {str(number): sha256_of_tensors(layer.state_dict()) for number, layer in layers},
    }
    write_json(target / MANIFEST, manifest)


if __name__ == "__main__":
    # transformers asks for this table of names once per module: 4 of 15 seconds.
    gguf.get_tensor_name_map = functools.lru_cache(gguf.get_tensor_name_map)
    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
