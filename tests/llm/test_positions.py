"""Positions and masks against a slow twin: a LLaMA layer in float64, pair by pair, by angles."""

from __future__ import annotations

import math

import pytest
import torch

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.llm.blocks import rotation, window_mask
from llm4seg_probe.llm.decoder import load_decoder

HEADS, KEYS, HEAD_WIDTH = 4, 2, 8


def angles(position, grid, frequencies):
    """Angle of every token (N) and pair of head dimensions, written out in loops."""
    rows = []
    for n in range(math.prod(grid)):
        rest, coordinates = n, []
        for length in reversed(grid):
            coordinates.insert(0, rest % length)
            rest //= length
        rows.append(
            [
                {
                    # cos and sin exchanged: a rotation by pi/2 - n.
                    "reference": math.pi / 2 - n,
                    "none": 0.0,
                    "rope": n * frequency,
                    "axial-rope": coordinates[pair % len(grid)] * frequency,
                }[position]
                for pair, frequency in enumerate(frequencies)
            ]
        )
    return torch.tensor(rows, dtype=torch.float64)


def slow_layer(block, x, angle, causal):
    """Output of a LLaMA layer for one image, x (N, width), with explicit sums over heads."""
    weights = {name: tensor.double() for name, tensor in block.state_dict().items()}

    def norm(values, scale):
        return values / (values.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * scale

    def turned(values):
        half = HEAD_WIDTH // 2
        as_complex = torch.complex(values[:, :half], values[:, half:])
        as_complex = as_complex * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([as_complex.real, as_complex.imag], dim=1)

    x = x.double()
    normed = norm(x, weights["input_layernorm.weight"])
    queries, keys, values = (
        (normed @ weights[f"self_attn.{part}_proj.weight"].T).split(HEAD_WIDTH, dim=1)
        for part in "qkv"
    )
    heads = []
    for head in range(HEADS):
        group = head // (HEADS // KEYS)
        logits = turned(queries[head]) @ turned(keys[group]).T / math.sqrt(HEAD_WIDTH)
        if causal:
            hidden = torch.ones_like(logits).triu(1).bool()
            logits = logits.masked_fill(hidden, -math.inf)
        heads.append(logits.softmax(-1) @ values[group])
    x = x + torch.cat(heads, dim=1) @ weights["self_attn.o_proj.weight"].T
    normed = norm(x, weights["post_attention_layernorm.weight"])
    gate = torch.nn.functional.silu(normed @ weights["mlp.gate_proj.weight"].T)
    up = normed @ weights["mlp.up_proj.weight"].T
    return x + (gate * up) @ weights["mlp.down_proj.weight"].T


@pytest.mark.parametrize("attention", ["causal", "bidirectional", "reference"])
@pytest.mark.parametrize("position", ["reference", "rope", "axial-rope", "none"])
@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 1), (2, 3, 4)], ids=str)
def test_the_layer_is_that_of_the_slow_twin(grid, position, attention, folder):
    decoder = load_decoder(
        BoosterConfig(source=folder, layer=2, position=position, attention=attention)
    )
    block = decoder.blocks[0]
    tokens = torch.randn(3, math.prod(grid), 32, generator=torch.Generator().manual_seed(3))
    angle = angles(position, grid, block.frequencies.tolist())
    expected = [slow_layer(block, x, angle, attention != "bidirectional") for x in tokens]
    torch.testing.assert_close(
        decoder(tokens, grid).double(), torch.stack(expected), rtol=1e-5, atol=1e-5
    )


def test_the_reference_position_is_one_angle_for_all_head_dimensions():
    cosine, sine = rotation("reference", (2, 2), torch.rand(16), 1.0, torch.float32)
    index = torch.tensor([0.0, 1.0, 2.0, 3.0])
    assert cosine.shape == sine.shape == (1, 4, 1)
    torch.testing.assert_close(cosine.flatten(), index.sin())
    torch.testing.assert_close(sine.flatten(), index.cos())


def test_axial_rope_of_a_single_row_turns_only_the_pairs_of_the_columns():
    frequencies = torch.tensor([1.0, 0.5, 0.25, 0.125])
    cosine, sine = rotation("axial-rope", (1, 5), frequencies, 1.0, torch.float32)
    assert torch.equal(sine[0, :, [0, 2, 4, 6]], torch.zeros(5, 4))
    torch.testing.assert_close(cosine[0, :, 1], (torch.arange(5) * 0.5).cos())


def test_a_window_sees_the_nearest_tokens():
    causal = window_mask(4, 2, True, torch.device("cpu"))[0, 0]
    both = window_mask(4, 2, False, torch.device("cpu"))[0, 0]
    assert causal.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert both.int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
