"""Tell whether nnU-Net is here and finds our trainers, and what to do where it does not."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import Version

from llm4seg_probe.errors import ConfigError
from llm4seg_probe.integrations.nnunet import torchvision_schemas

OLDEST = "2.8"
"""The first nnU-Net that looks for trainers outside itself (``nnUNet_extTrainer``)."""
POINTER = "nnUNet_extTrainer"
"""nnU-Net's variable for folders of further trainers."""
INSTALL = "pip install 'llm4seg-probe[nnunet]'"


def installed() -> str | None:
    """Return the version of nnU-Net, None where there is none."""
    try:
        return version("nnunetv2")
    except PackageNotFoundError:
        return None


def require() -> None:
    """Raise ConfigError unless nnU-Net is here, and new enough."""
    found = installed()
    if found is None:
        raise ConfigError(f"nnU-Net is not installed in this environment: {INSTALL}")
    if Version(found) < Version(OLDEST):
        raise ConfigError(
            f"nnU-Net {found} finds no trainers outside itself, {OLDEST} does: "
            f"pip install 'nnunetv2>={OLDEST}'"
        )


def trouble() -> tuple[str, str]:
    """Say what keeps nnU-Net from finding trainers outside itself, and what to do; or nothing.

    Its look-up imports all of its own trainers first, among them some that need timm, which
    needs torchvision, whatever trainer is wanted.
    """
    reason = torchvision_schemas.trouble()
    if not reason:
        return "", ""
    if torchvision_schemas.SYMPTOM in reason:
        return (
            "torchvision is built for another torch, so that nnU-Net finds no trainer outside "
            "itself",
            torchvision_schemas.COMMAND,
        )
    return f"torchvision cannot be imported ({reason})", INSTALL


def trainers_folder() -> Path:
    """Return the folder for ``nnUNet_extTrainer``.

    Raises ConfigError where nnU-Net would find nothing in it.
    """
    require()
    what, advice = trouble()
    if what:
        raise ConfigError(f"{what}: {advice}")
    return Path(__file__).parent / "trainers"
