"""nnU-Net's shape without nnU-Net: the folder `standin` in its place, and toy plans."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy_nnunet import toy_plans

collect_ignore_glob = ["short_trainers/*", "standin/*"]  # nnU-Net imports these
HERE = Path(__file__).parent
_PACKAGES = ("nnunetv2", "batchgenerators", "dynamic_network_architectures")


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Put the stand-in before any real nnU-Net, with its three folders set; gives their parent."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in _PACKAGES]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(HERE / "standin")
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    yield tmp_path
    forget()


@pytest.fixture
def planned(standin: Path, tiny_llm: Path) -> dict[str, Any]:
    """The toy plans in nnUNet_preprocessed, and the same with a layer of the tiny LLaMA."""
    from llm4seg_probe.models.nnunet_plans import base_plans, section_from

    folder = standin / "nnUNet_preprocessed" / "Dataset001_Toy"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(toy_plans()), encoding="utf-8")
    section = section_from(str(tiny_llm), 3, {}, store_layer=True)
    written = base_plans("1", "nnUNetPlansTiny").write(section)
    found: dict[str, Any] = json.loads(written.path.read_text(encoding="utf-8"))
    return found
