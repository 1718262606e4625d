"""Tables of made-up studies with known differences."""

import itertools

import numpy as np
import pandas as pd


def per_seed(**arms):
    """One row per arm and seed: per_seed(cnn=[0.6, 0.7], llm=[0.7, 0.8])."""
    rows = [
        {"arm": arm.replace("_", "-"), "seed": seed, "iou": value}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def study(
    effects={"cnn": 0.0, "llm": 0.01},  # noqa: B006 (read only)
    seeds=5,
    cases=24,
    per_group=2,
    seed=0,
    score="iou",
    **fixed,
):
    """One row per arm, seed and case; scores near 0.6, seeds and cases with their own effects."""
    random = np.random.default_rng(seed)
    case = random.normal(0, 0.05, cases)
    run = {key: random.normal(0, 0.005) for key in itertools.product(effects, range(seeds))}
    rows = [
        {
            "run": f"{arm}-{s}", "dataset": "spine", "arm": arm, "seed": s, "image": f"image{c}",
            "group": f"patient{c // per_group}", **fixed,
            score: 0.6 + effect + case[c] + run[arm, s] + random.normal(0, 0.01),
        }
        for (arm, effect), s, c in itertools.product(effects.items(), range(seeds), range(cases))
    ]  # fmt: skip
    return pd.DataFrame(rows)
