"""The descriptors: complete, cheap, and the one source of commands, tables and names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from commands import invoke

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.probes import registry
from llm4seg_probe.probes.base import Probe

PROBES = registry.PROBES


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_what_a_descriptor_names_is_there(probe: Probe) -> None:
    assert probe.package == f"llm4seg_probe.probes.{probe.name}"
    assert probe.schema.name == f"{probe.name}.csv"
    assert not probe.summary.endswith(".")
    assert probe.shows.endswith(".")
    assert not probe.cannot.endswith(".")
    assert probe.cannot.startswith(probe.caveat)
    references = (
        probe.measure if not probe.measure_together else probe.measure_together,
        probe.draw, probe.derive, probe.write_arrays, probe.summarise, probe.sentences,
    )  # fmt: skip
    for reference in filter(None, references):
        assert callable(probe.resolved(reference))
    columns = probe.schema.columns
    assert probe.claimable
    assert {*probe.claimable, *probe.where, *probe.average_over} <= columns.keys()
    assert all(columns[name] != "text" for name in probe.claimable)
    assert {*probe.summary_by, *probe.summary_of, *probe.summary_where} <= columns.keys()
    assert bool(probe.derive) == bool(probe.derived)


def are_in_order(words: list[str], among: list[str]) -> bool:
    left = iter(among)
    return all(word in left for word in words)


"""What frames the groups of a command's help."""


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_its_command_has_its_options_and_says_what_it_cannot_show(probe: Probe) -> None:
    found = invoke(probe.name, "--help")
    text = " ".join(found.stdout.replace("`", "").split())
    assert probe.summary[1:].replace("`", "") in text
    assert f"It cannot show {probe.cannot}.".replace("`", "") in text
    for option in probe.option_list():
        assert option.flag in text
        # A long kind of value beside it is wrapped too, between the words of the help.
        assert are_in_order(option.help.replace("`", "").split(), text.split()), option.help
    for shared in ("--ckpt", "--data", "--split", "--out", "--json"):
        assert shared in text


def test_the_list_of_probes_is_the_registry() -> None:
    listed = json.loads(invoke("list", "probes", "--json").stdout)
    assert listed == {probe.name: probe.summary for probe in PROBES}


def test_descriptors_import_nothing_heavy() -> None:
    code = (
        "import sys; from llm4seg_probe.probes import registry; registry.probes(); "
        "registry.schemas(); heavy = {'torch', 'pandas', 'matplotlib', 'numpy', 'scipy'}; "
        "print(heavy & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_options_are_read_from_text() -> None:
    options = {option.name: option for option in registry.find("intervene").option_list()}
    assert options["ranks"].parsed("1, 2,8") == (1, 2, 8)
    assert options["only"].parsed("bypass,mask") == ("bypass", "mask")
    assert options["ranks"].text == "1,2,4,8,16,32"
    assert options["only"].text is None
    assert (options["other_layer"].flag, options["other_layer"].optional) == ("--other-layer", True)
    for text in ("0", "1.5", "few"):
        with pytest.raises(ConfigError, match=rf"--ranks holds '{text}': give whole numbers"):
            options["ranks"].parsed(text)


def test_an_analysis_sets_some_options_and_python_any() -> None:
    values = {"sites": ("layer",), "gallery": 7}
    assert registry.find("maps").of_analysis(values).gallery == 7
    assert registry.find("similarity").of_analysis(values).sites == ("layer",)
    assert registry.find("field").of_analysis(values).sites == ("logits",)
    chosen = registry.find("attribute").with_options(steps=3)
    assert (chosen.steps, chosen.window) == (3, 8)
    with pytest.raises(ConfigError, match=r"attribute: unknown option 'stepz'. Did you mean"):
        registry.find("attribute").with_options(stepz=3)
