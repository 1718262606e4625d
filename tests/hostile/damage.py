"""Damage: bytes flipped, cut, put in; fields removed, exchanged, huge, negative, deep."""

from __future__ import annotations

import json
import random
import struct
from copy import deepcopy
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 10**30, -(10**18), 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "../../x", "/etc/passwd", "~root", "a\0b", "a" * 5000, "${", "${oc.env:HOME}", "%s%n",
    "os:system", "monai.bundle:run", "\x1b]0;t\x07", "\u202e", "=1+1", "<img src=x onerror=x>",
    [], {}, [None], [[]], {"a": {}}, [1] * 2000, {"x": [1, {"y": 2}]},
)  # fmt: skip


def deep(draw: random.Random) -> Any:
    """Something nested more deeply than any reader should follow."""
    value: Any = 1
    for _ in range(draw.choice((70, 150, 250))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value


def as_yaml(values: Any, *, flow: bool = False) -> str:
    """Values as YAML; what is nested too deeply to be written so as JSON, which is YAML too."""
    import yaml

    try:
        return yaml.safe_dump(values, default_flow_style=flow)
    except RecursionError:
        return json.dumps(values)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in nested plain values."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += places(inner, (*at, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value[:6]):
            found += places(inner, (*at, number))
    return found


def changed(value: Any, draw: random.Random, odd: tuple[Any, ...] = ODD) -> Any:
    """The values with one to three of them removed, exchanged or added."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        every = places(value)
        if not every:  # all of it has been removed
            break
        at = draw.choice(every)
        inner = value
        for key in at[:-1]:
            inner = inner[key]
        kind = draw.random()
        if kind < 0.25 and isinstance(inner, dict):
            del inner[at[-1]]
        elif kind < 0.35 and isinstance(inner, dict):
            # A copy, because the next change may go into it.
            inner[draw.choice(("extra", "a.b", "x" * 300))] = deepcopy(draw.choice(odd))
        elif kind < 0.4:
            inner[at[-1]] = deep(draw)
        else:
            inner[at[-1]] = deepcopy(draw.choice(odd))
    return value


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Bytes with some flipped, cut off, doubled, or put in."""
    data = bytearray(content)
    kind = draw.randrange(6)
    if kind == 0:
        return bytes(data[: draw.randrange(len(data) + 1)])
    if kind == 1:
        for _ in range(draw.choice((1, 4, 64))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 2:
        place = draw.randrange(len(data))
        data[place:place] = draw.choice((b"\0" * 64, b"\xff" * 64, b"[" * 5000, b'"', b"%s%n"))
    elif kind == 3:
        place, size = draw.randrange(len(data)), draw.choice((1, 8, 200))
        data[place : place + size] = b"\xff" * size
    elif kind == 4:
        place = draw.randrange(len(data))
        data[place:] = data[place:] * 2
    else:  # what stands in headers
        for _ in range(3):
            place = draw.randrange(min(len(data), 400))
            data[place : place + 4] = struct.pack(
                draw.choice("<>") + "i", draw.choice((-1, 0, 1, 2**31 - 1, 65535, 10**6))
            )
    return bytes(data)


def yaml_text(values: Any, draw: random.Random) -> str:
    """Values as YAML, sometimes as its flow style, sometimes with what YAML can do beyond."""

    text = as_yaml(values, flow=draw.random() < 0.3)
    kind = draw.randrange(8)
    if kind == 0:
        text += "\nx: !!python/object/apply:os.system ['touch PWNED']\n"
    elif kind == 1:
        text = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"a{n}: &a{n} [{', '.join([f'*a{n - 1 or str()}'] * 9)}]\n" for n in range(1, 9)
        )
    elif kind == 2:
        text = damaged(text.encode(), draw).decode("utf-8", "replace")
    elif kind == 3:
        text += "x: &x {y: *x}\n"
    elif kind == 4:
        text += "extends: s.yaml\n"
    return text
