"""A probe from another package, as the documentation writes it, from its files to the page."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from llm4seg_probe.cli.app import application
from llm4seg_probe.config import Config
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.probes import registry
from llm4seg_probe.study.analysis import Analysis

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-probe.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the page on the path, not announced by an entry point."""
    folder = tmp_path / "site"
    for block in blocks("python"):
        name, code = block.split("\n", 1)
        path = folder / name.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_NAMED", {})
    yield folder
    registry.installed.cache_clear()
    registry._announced.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "sparsity"]:
        del sys.modules[name]


@pytest.fixture
def announced(package: Path) -> Path:
    """The same package with the metadata that an installation of it would write."""
    (project,) = blocks("toml")
    group, entry = re.fullmatch(r'\[project\.entry-points\."(.+)"\]\n(.+)\n', project).groups()  # type: ignore[union-attr]
    information = package / "sparsity-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: sparsity\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{group}]\n{entry.replace(chr(34), '')}\n")
    registry.installed.cache_clear()
    registry._announced.cache_clear()
    return package


def analysis_file(folder: Path, config: Config, **changes: object) -> Path:
    (block,) = blocks("yaml")
    values = {
        "name": "sparse", "title": "Sparse", "question": "Is it?", "rests_on": "Next to nothing.",
        "base": config.model_dump(mode="json", exclude={"arm", "seed"}),
        "factors": {"arm": ["cnn", "llm"], "seed": [0, 1]}, "sizes": {"small": {}},
        **yaml.safe_load(block), **changes,
    }  # fmt: skip
    path = folder / "sparse.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_probe_of_another_package_goes_from_a_sweep_to_the_page(
    announced: Path, tmp_path: Path, tiny_config: Config
) -> None:
    short = tiny_config.training.model_copy(update={"epochs": 1})
    config = tiny_config.model_copy(update={"training": short})
    path = analysis_file(tmp_path, config, probes={"names": ["rank", "maps"], "gallery": 2})
    out = tmp_path / "results"
    run = CliRunner().invoke(application(), ["sweep", str(path), "--out", str(out), "--json"])
    assert run.exit_code == 0, run.output
    (claim,) = json.loads(run.stdout)["claims"]
    table = pd.read_csv(out / "sparsity" / "sparsity.csv")
    means = table[table["arm"] == "llm"].groupby("site")["zeros"].mean()
    assert claim["difference"] == pytest.approx(means["after"] - means["before"])
    assert claim["verdict"] != "not run"
    page = "".join(part.read_text(encoding="utf-8") for part in out.glob("*.html"))
    assert "How many of a site&#39;s activations hardly say anything." in page
    assert "Whether the others are of use." in page
    assert "sparsity/sparsity.csv" in page
    again = CliRunner().invoke(
        application(),
        ["sparsity", "--ckpt", str(out / "runs" / "llm-0-*" / "run.pt"), "--below", "0.2",
         "--sites", "after", "--out", str(tmp_path / "alone"), "--json"],
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    assert {row["site"] for row in json.loads(again.stdout)["rows"]} == {"after"}
    assert (tmp_path / "alone" / "figures" / "sparsity.svg").is_file()


def test_a_probe_is_found_by_its_path_and_known_by_its_name_from_then_on(
    package: Path, tmp_path: Path, tiny_config: Config
) -> None:
    with pytest.raises(ConfigError, match=r"unknown probe 'sparsity'.*as package.module:PROBE"):
        registry.find("sparsity")
    values = yaml.safe_load(analysis_file(tmp_path, tiny_config).read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match=r"no file may name alone: add --probe sparsity:PROBE"):
        Analysis.model_validate(values)
    assert "sparsity" not in sys.modules
    with registry.probes_given(["sparsity:PROBE"]):
        analysis = Analysis.model_validate(values)
    assert analysis.probe_names() == ["rank", "maps", "sparsity"]
    assert registry.find("sparsity") is registry.find("sparsity:PROBE")
    assert registry.claimable("sparsity") == ("zeros",)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("sparsity:PROB", "probe 'sparsity:PROB' cannot be imported: .* has no attribute 'PROB'"),
        ("sparsty:PROBE", "cannot be imported: No module named 'sparsty'. Is its package"),
        ("sparsity:Options", "sparsity:Options is not a probe: it is type"),
    ],
)
def test_what_is_wrong_with_a_path_is_said(package: Path, path: str, message: str) -> None:
    with registry.probes_given([path]), pytest.raises(ConfigError, match=message):
        registry.find(path)


def test_a_path_of_an_analysis_is_imported_only_where_the_user_names_it_too(
    package: Path, tmp_path: Path, tiny_config: Config
) -> None:
    path = analysis_file(tmp_path, tiny_config)
    command = ["sweep", str(path), "--out", str(tmp_path / "out"), "--dry-run"]
    refused = CliRunner().invoke(application(), command)
    assert refused.exit_code == 2
    assert "add --probe sparsity:PROBE to the command" in " ".join(refused.output.split())
    assert "sparsity" not in sys.modules
    taken = CliRunner().invoke(application(), [*command, "--probe", "sparsity:PROBE"])
    assert taken.exit_code == 0, taken.output
    assert "sparsity" in sys.modules
    assert registry.VARIABLE not in os.environ


def test_a_path_that_an_installed_package_announces_may_be_named(announced: Path) -> None:
    assert registry.find("sparsity:PROBE") is registry.installed()[0]["sparsity"]


def test_an_installed_probe_that_cannot_be_taken_is_told_and_stops_nothing(
    announced: Path,
) -> None:
    (announced / "sparsity" / "__init__.py").write_text("raise RuntimeError('no licence')\n")
    registry.installed.cache_clear()
    registry._announced.cache_clear()
    listed = CliRunner().invoke(application(), ["list", "probes"])
    assert listed.exit_code == 0
    assert "cannot be taken: sparsity:PROBE: no licence" in listed.stdout
    with pytest.raises(ConfigError, match=r"probe 'sparsity' cannot be taken: .*no licence"):
        registry.find("sparsity")


def test_a_name_that_is_taken_is_refused(announced: Path) -> None:
    module = announced / "sparsity" / "__init__.py"
    module.write_text(module.read_text().replace('"sparsity', '"rank'))
    registry.installed.cache_clear()
    registry._announced.cache_clear()
    found, refused = registry.installed()
    assert found == {}
    assert refused == {"sparsity": "sparsity:PROBE: there is a probe 'rank' already"}
