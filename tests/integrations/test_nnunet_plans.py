"""Plans that name a layer, the folder of trainers, and what is said where nnU-Net is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from toy_nnunet import toy_plans
from typer.testing import CliRunner

from llm4seg_probe.cli.app import app
from llm4seg_probe.errors import ConfigError
from llm4seg_probe.integrations.nnunet import installation, torchvision_schemas
from llm4seg_probe.models.nnunet_plans import KEY, section_of, tokens_of


def invoke(*words: object) -> str:
    done = CliRunner().invoke(app, ["nnunet", *map(str, words)])
    return done.output if done.exit_code == 0 else f"{done.exit_code}: {done.output}"


@pytest.fixture
def folder(standin: Path) -> Path:
    place = standin / "nnUNet_preprocessed" / "Dataset001_Toy"
    place.mkdir()
    (place / "nnUNetPlans.json").write_text(json.dumps(toy_plans()), encoding="utf-8")
    return place


def test_the_new_plans_are_the_old_ones_with_a_layer(folder, tiny_llm):
    said = invoke(
        "plans", 1, "--source", tiny_llm, "--layer", -1, "--out", "nnUNetPlansTiny",
        "--set", "attention=bidirectional", "--set", "residual=true", "--leave-layer-out",
    )  # fmt: skip
    assert "In 2d it sees 16 tokens." in said
    assert "-p nnUNetPlansTiny -tr nnUNetTrainer_LLM4Seg_ARM_sSEED" in said
    written = json.loads((folder / "nnUNetPlansTiny.json").read_text())
    section = section_of(written)
    assert (section.booster.layer, section.booster.attention) == (-1, "bidirectional")
    assert section.booster.residual is True
    assert (section.store_layer, section.width) == (False, 32)
    from llm4seg_probe.llm.decoder import load_decoder

    assert section.sha256 == load_decoder(section.booster).identity.sha256
    assert {k: v for k, v in written.items() if k not in (KEY, "plans_name")} == {
        k: v for k, v in toy_plans().items() if k != "plans_name"
    }


def test_the_same_again_is_no_mistake_and_another_layer_under_the_name_is(folder, tiny_llm):
    words = ("plans", 1, "--source", tiny_llm, "--out", "P", "--layer")
    assert "The plans" in invoke(*words, 2)
    assert "The plans" in invoke(*words, 2)
    assert "exists with other contents" in invoke(*words, 3)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("1", "--out", "a__b"), "single underscores"),
        (("1", "--out", "P", "--layer", "9"), "has 4 layers"),
        (("1", "--out", "P", "--layer", "2", "--set", "atention=none"), "Did you mean 'attention'"),
        (("1", "--out", "P", "--layer", "2", "--set", "attention"), "write --set key=value"),
        (("1", "--out", "P", "--layer", "2", "--set", "layer=3"), "give it as --layer"),
        (("1", "--out", "P", "--layer", "2", "--plans", "Q"), "nnUNetv2_plan_and_preprocess -d 1"),
        (("2", "--out", "P", "--layer", "2"), "no folder Dataset002_*"),
    ],
)
def test_wrong_wishes_end_in_one_line(folder, tiny_llm, words, expected):
    said = invoke("plans", *words, "--source", tiny_llm)
    assert said.startswith("2: Error:")
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_plans_that_have_a_layer_get_no_second_one(folder, tiny_llm):
    invoke("plans", 1, "--source", tiny_llm, "--out", "P", "--layer", 2)
    said = invoke("plans", 1, "--source", tiny_llm, "--out", "Q", "--layer", 2, "--plans", "P")
    assert "has a layer already" in said


def test_the_variables_are_asked_for(folder, tiny_llm, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed")
    said = invoke("plans", 1, "--source", tiny_llm, "--out", "P", "--layer", 2)
    assert "nnUNet_preprocessed is not set" in said


def test_a_broken_section_is_named():
    with pytest.raises(ConfigError, match="holds other fields than"):
        section_of({"plans_name": "P", KEY: {"source": "x"}})


def test_tokens_are_those_of_the_bottleneck():
    assert tokens_of(toy_plans(axes=3)) == {"3d": 64}


def test_old_plans_without_an_identifier_are_refused(folder, tiny_llm):
    plans = toy_plans()
    del plans["configurations"]["2d"]["data_identifier"]
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans), encoding="utf-8")
    assert "no data_identifier" in invoke(
        "plans", 1, "--source", tiny_llm, "--out", "P", "--layer", 2
    )


def test_the_trainers_folder_holds_one_module(standin, monkeypatch):
    monkeypatch.setattr(installation, "trouble", lambda: ("", ""))
    place = Path(invoke("trainers").strip())
    assert [path.name for path in place.glob("*.py")] == ["llm4seg_trainers.py"]


def test_without_nnunet_the_command_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(installation, "version", _missing)
    assert "pip install 'llm4seg-probe[nnunet]'" in invoke("trainers")


def test_an_old_nnunet_is_told(monkeypatch):
    monkeypatch.setattr(installation, "version", lambda name: "2.6.2")
    assert "pip install 'nnunetv2>=2.8'" in invoke("trainers")


def test_doctor_knows_it(standin, monkeypatch):
    from llm4seg_probe.cli.doctor import _nnunet

    monkeypatch.setattr(installation, "trouble", lambda: ("", ""))
    monkeypatch.delenv(installation.POINTER, raising=False)
    found = _nnunet()
    assert found.state.startswith("2.8.1, does not look for the trainers")
    assert found.advice == 'export nnUNet_extTrainer="$(llm4seg-probe nnunet trainers)"'
    monkeypatch.setenv(installation.POINTER, f"/elsewhere:{installation.trainers_folder()}")
    assert _nnunet().state == "2.8.1, finds the trainers (nnUNet_extTrainer)"
    monkeypatch.setattr(installation, "trouble", lambda: ("torchvision is broken", "mend it"))
    assert (_nnunet().state, _nnunet().advice) == ("2.8.1: torchvision is broken", "mend it")
    monkeypatch.setattr(installation, "version", _missing)
    assert _nnunet().state.startswith("not installed")


@pytest.mark.slow
def test_a_torchvision_for_another_torch_is_told_and_mended(tmp_path, monkeypatch):
    package = tmp_path / "torchvision"
    package.mkdir()
    # What torchvision does when its compiled part does not load.
    (package / "__init__.py").write_text(
        "import torch\n"
        "@torch.library.register_fake('torchvision::nms')\n"
        "def nms(dets, scores, iou_threshold):\n"
        "    return dets\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path.cwd()}")
    tried = [sys.executable, "-m", "llm4seg_probe.integrations.nnunet.torchvision_schemas"]
    reason = torchvision_schemas.trouble()
    assert torchvision_schemas.SYMPTOM in reason
    what, advice = installation.trouble()
    assert "built for another torch" in what
    assert advice == torchvision_schemas.COMMAND
    first = subprocess.run(tried, capture_output=True, text=True)
    assert "two operators are declared" in first.stdout, first.stderr
    assert torchvision_schemas.trouble() == ""
    second = subprocess.run(tried, capture_output=True, text=True)
    assert "nothing was changed" in second.stdout
    (package / "__init__.py").write_text("raise ImportError('another reason')\n")
    third = subprocess.run(tried, capture_output=True, text=True)
    assert third.returncode == 1
    assert third.stderr == (
        "Error: torchvision cannot be imported, and not for want of operators: "
        "ImportError: another reason\n"
    )


def _missing(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)
