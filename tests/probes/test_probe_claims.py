"""Claims on the tables of the probes, judged in one sweep of tiny networks."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from llm4seg_probe.config import Config, read_yaml
from llm4seg_probe.probes import registry
from llm4seg_probe.study.analysis import Analysis
from llm4seg_probe.study.pipeline import answer
from llm4seg_probe.tables import read_table

CLAIMS = {
    "attention": ("foreground_share", "llm", "llm[null=other-image]"),
    "similarity": ("cka", "llm[site=before]", "cnn[site=before]"),
    "decode": (
        "auroc", "llm[input=features+position]@after", "llm[input=features+position]@before",
    ),
    "lens": ("distance", "llm", "llm[null=other-image]"),
    "attribute": ("foreground_share", "llm", "llm[null=untrained]"),
    "field": ("radius_50", "llm[layer=with]", "cnn[layer=none]"),
    "robustness": ("dice", "llm[corruption=noise,strength=1]", "llm[corruption=noise,strength=5]"),
    "denoise": ("snr_db", "llm@after - llm@before", "cnn@after - cnn@before"),
    "calibration": ("ece", "llm", "cnn"),
    "intervene": ("iou_change", "llm[intervention=bypass]", "llm[intervention=none]"),
    "swap": ("iou_change", "llm[donor=other-arm]", "llm[donor=mean]"),
}  # fmt: skip


@pytest.fixture(scope="module")
def answered(
    tiny_config: Config, spoken_llm: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    """Folder and claims of a study whose probes are taken because claims are stated on them."""
    base = tiny_config.model_dump(mode="json", exclude={"arm", "seed"})
    base["data"]["image_size"] = [64, 64]  # tokens that are wholly foreground
    base["booster"]["source"] = str(spoken_llm)
    base["training"] |= {"epochs": 6, "batch_size": 2}  # else nothing is predicted to explain
    analysis = Analysis.model_validate(
        {
            "name": "claimed", "title": "Claimed", "question": "Can it be claimed?",
            "rests_on": "Next to nothing.", "base": base, "probes": {"gallery": 1},
            "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]},
            "claims": [
                {"id": table, "statement": "So it is", "table": table, "score": score,
                 "comparisons": [{"a": a, "b": b}], "margin": 0.01}
                for table, (score, a, b) in CLAIMS.items()
            ],
        }
    )  # fmt: skip
    out = tmp_path_factory.mktemp("claimed")
    return out, answer(analysis, out, size="small").claims.set_index("claim")


def test_every_probe_of_a_study_carries_a_claim() -> None:
    kept_in_runs = {probe.name for probe in registry.PROBES if probe.per_run}
    assert set(CLAIMS) == {probe.name for probe in registry.PROBES} - kept_in_runs
    assert kept_in_runs == {"rank", "maps", "mixture"}


@pytest.mark.slow
@pytest.mark.parametrize("table", CLAIMS)
def test_a_claim_is_judged_on_the_probes_own_table(
    answered: tuple[Path, pd.DataFrame], table: str
) -> None:
    out, claims = answered
    row = claims.loc[table]
    assert row["verdict"] != "not run", row["reason"]
    assert row["n_seeds"] == 2
    assert math.isfinite(row["difference"])
    assert read_yaml(out / table / "about.yaml")["summary"] == registry.find(table).summary
    assert len(read_table(out / table / f"{table}.csv", registry.find(table).schema))


@pytest.mark.slow
def test_the_page_shows_claim_and_probe(answered: tuple[Path, pd.DataFrame]) -> None:
    parts = answered[0].glob("*.html")
    page = "".join(part.read_text(encoding="utf-8") for part in parts)
    for table in CLAIMS:
        assert f'id="claim-{table}"' in page
        assert f'id="probe-{table}"' in page
        assert f"{table}/{table}.csv" in page


@pytest.mark.slow
def test_what_a_claim_means_unless_it_says_otherwise(answered: tuple[Path, pd.DataFrame]) -> None:
    out, claims = answered
    table = read_table(out / "decode" / "decode.csv", registry.find("decode").schema)
    rows = table[(table["arm"] == "llm") & (table["null"] == "") & (table["image"] != "")]
    rows = rows[rows["input"] == "features+position"]
    rows = rows[rows["training_images"] == table["training_images"].max()]
    means = rows.groupby(["site", "seed"])["auroc"].mean().unstack("seed")
    difference = means.loc["after"] - means.loc["before"]
    assert claims.loc["decode", "difference"] == pytest.approx(difference.mean())
    spread = stats.sem(difference)
    low = difference.mean() - stats.t.ppf(0.975, 1) * spread if spread else math.nan
    assert claims.loc["decode", "ci_low"] == pytest.approx(low, nan_ok=True)
    note = claims.loc["attention", "note"]
    heads = read_table(out / "attention" / "attention.csv", registry.find("attention").schema)
    heads = heads[heads["arm"] == "llm"]
    own, other = (heads[heads["null"] == null] for null in ("", "other-image"))
    shares = [rows.groupby(["seed", "image"])["foreground_share"].mean() for rows in (own, other)]
    both = pd.concat(shares, axis=1, keys=["own", "other"]).unstack("seed").dropna()
    gaps = (both["own"] - both["other"]).to_numpy()
    assert claims.loc["attention", "difference"] == pytest.approx(gaps.mean())
    assert claims.loc["attention", "n_cases"] == len(both)
    assert isinstance(note, str)
