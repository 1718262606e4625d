from __future__ import annotations

import colorsys
from itertools import combinations
from typing import get_args

import matplotlib
import numpy as np
import pytest
from figure_checks import settings

from llm4seg_probe.arms import ArmName
from llm4seg_probe.drawing.style import (
    ARM_STYLES,
    arm_style,
    condition_style,
    in_order,
    page_colours,
    paper_style,
)

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "protan": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deutan": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritan": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
         [0.0193339, 0.1191920, 0.9503041]]
    )  # fmt: skip
    xyz = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(colour: str, other: str) -> float:
    bright = sorted(linear(name) @ [0.2126, 0.7152, 0.0722] for name in (colour, other))
    return (bright[1] + 0.05) / (bright[0] + 0.05)


def test_every_arm_has_its_own_look_in_the_order_of_the_config():
    assert tuple(ARM_STYLES) == get_args(ArmName)
    for part in ("colour", "marker", "label"):
        assert len({getattr(style, part) for style in ARM_STYLES.values()}) == len(ARM_STYLES)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_told_apart_with_any_sight(sight, theme):
    tones = page_colours()
    seen = {
        arm: lab(SIGHT[sight] @ linear(tones[style.colour] if theme == "dark" else style.colour))
        for arm, style in ARM_STYLES.items()
    }
    nearest = min(
        combinations(seen, 2), key=lambda pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]])
    )
    assert np.linalg.norm(seen[nearest[0]] - seen[nearest[1]]) > 16.9, nearest


@pytest.mark.parametrize("paper", ["#ffffff", "#14181d"])
def test_colours_stand_out_on_light_and_dark_pages(paper):
    tones = page_colours()
    shown = tones if paper == "#ffffff" else tones.values()
    assert len(tones) == 3 * len(ARM_STYLES)
    assert min(contrast(colour, paper) for colour in shown) >= 3


@pytest.mark.parametrize(
    ("condition", "label"),
    [
        ("llm", "LLM, frozen"),
        ("llm@after", "LLM, frozen, after"),
        ("llm[layer=10,llm=a/b]", "LLM, frozen, layer 10, b"),
        ("llm@after - llm@before", "llm@after - llm@before"),
        ("U-Net + ours", "U-Net + ours"),
    ],
)
def test_conditions_are_named(condition, label):
    assert arm_style(condition).label == label


def hue(colour: str) -> float:
    return colorsys.rgb_to_hls(*(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)))[0]


@pytest.mark.parametrize("deviation", ["layer=10", "layer=3", "attention=bidirectional", "a=1,b=2"])
@pytest.mark.parametrize("arm", ARM_STYLES)
def test_a_condition_has_its_arms_hue_and_a_marker_of_its_own(arm, deviation):
    style, usual = arm_style(f"{arm}[{deviation}]@after"), ARM_STYLES[arm]
    assert hue(style.colour) == pytest.approx(hue(usual.colour), abs=0.02)
    assert style.marker != usual.marker or arm == "llm-lora"
    assert style == arm_style(f"{arm}[{deviation}]@after")
    assert arm_style(f"{arm}@after").colour == usual.colour


def test_conditions_of_an_arm_differ_in_lightness_or_marker():
    layers = [arm_style(f"llm[layer={layer}]") for layer in range(1, 31)]
    assert len({style.colour for style in layers}) == 3
    assert arm_style("llm[attention=x]").marker != arm_style("llm[layer=1]").marker


def test_a_contrast_looks_like_its_first_condition():
    style = condition_style("llm[layer=3]@after - cnn@after")
    assert style.label == "LLM, frozen, layer 3, after − CNN, after"
    assert style.colour == arm_style("llm[layer=3]").colour
    assert condition_style("mean(llm, cnn) + adapters").label == (
        "mean of 2: LLM, frozen … + Adapters only"
    )


def test_other_names_keep_the_neutral_colour():
    assert arm_style("theirs").colour not in {style.colour for style in ARM_STYLES.values()}


def test_order_is_that_of_the_arms_then_as_they_come():
    mixed = ["theirs", "adapters", "llm[layer=2]", "cnn", "adapters", "ours"]
    assert in_order(mixed) == ["cnn", "llm[layer=2]", "adapters", "theirs", "ours"]


@pytest.mark.parametrize("raises", [False, True])
def test_the_style_leaves_nothing_behind(raises):
    before = settings()
    try:
        with paper_style():
            assert matplotlib.rcParams["svg.fonttype"] == "none"
            if raises:
                raise RuntimeError
    except RuntimeError:
        pass
    assert settings() == before


def test_the_style_does_not_depend_on_the_users_settings():
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True}), paper_style():
        assert matplotlib.rcParams["font.size"] == 7.5
        assert matplotlib.rcParams["axes.grid"] is False
