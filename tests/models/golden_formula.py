"""The formula by which the golden numbers' weights and inputs are made, and the files' fields."""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "golden"


def golden(name):
    return json.loads((FOLDER / f"{name}-public.json").read_text())


def uniform(key, n, salt="public"):
    seed = int.from_bytes(hashlib.sha256((salt + key).encode()).digest()[:4], "little")
    return np.random.Generator(np.random.PCG64(seed)).random(n)


def weight(key, shape, salt="public"):
    n = math.prod(shape)
    u = uniform(key, n, salt)
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("running_var"):
        values = 0.5 + u
    elif key.endswith("running_mean"):
        values = 0.2 * (u - 0.5)
    elif len(shape) == 1 and key.endswith("weight"):
        values = 0.8 + 0.4 * u
    elif len(shape) == 1:
        values = 0.2 * (u - 0.5)
    else:
        values = (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def golden_state(fields):
    return {key: weight(key, shape) for key, shape in fields["keys"].items()}


def golden_input():
    values = 2 * uniform("input", 3 * 256 * 256) - 1
    return torch.from_numpy(values.astype(np.float32).reshape(1, 3, 256, 256))
