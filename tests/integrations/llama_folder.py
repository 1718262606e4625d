"""A folder in Hugging Face layout with a small LLaMA-shaped language model of random weights.

python tests/integrations/llama_folder.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path


def make(folder: Path) -> None:
    """Four layers, 64 wide, grouped queries as in LLaMA 3."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
