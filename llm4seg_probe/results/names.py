"""Names by kind, with a line of description each, for ``list`` and ``lp.list``."""

from __future__ import annotations

from collections.abc import Callable

from llm4seg_probe.errors import UserError, unknown

_SITES = {
    "encoder.1 …": "output of each encoder stage, from the image inwards",
    "before": "input of the booster; the bottleneck in a plain CNN",
    "tokens": "after the first adapter, as wide as the language model",
    "attention": "residual stream after the decoder layer's attention",
    "layer": "output of the decoder layer",
    "after": "output of the booster; in a plain CNN the same as `before`",
    "decoder.k …": "output of each decoder stage, outwards",
    "logits": "output of the network",
    "any module": "every module of the network by its path, such as `encoder3.block`",
}
"""Sites with what passes there, in the order of the data's way."""


def _arms() -> dict[str, str]:
    from llm4seg_probe.arms import ARMS

    return {name: arm.description for name, arm in ARMS.items()}


def _backbones() -> dict[str, str]:
    from llm4seg_probe.models.backbones import BACKBONES

    return {name: row.description for name, row in BACKBONES.items()}


def _presets() -> dict[str, str]:
    from llm4seg_probe.presets import presets

    return presets()


def _probes() -> dict[str, str]:
    from llm4seg_probe.probes import registry

    entries = {name: probe.summary for name, probe in registry.probes().items()}
    refused = registry.installed()[1]
    return entries | {name: f"cannot be taken: {reason}" for name, reason in refused.items()}


def _claims() -> dict[str, str]:
    from llm4seg_probe.study.analysis import analyses_folder, load_analysis

    entries: dict[str, str] = {}
    for path in sorted(analyses_folder().glob("*.yaml")):
        for claim in load_analysis(path).claims:
            entries.setdefault(claim.id, f"{claim.statement} ({path.name})")
    return entries


KINDS: dict[str, Callable[[], dict[str, str]]] = {
    "arms": _arms,
    "sites": lambda: _SITES,
    "backbones": _backbones,
    "probes": _probes,
    "claims": _claims,
    "presets": _presets,
}
"""What can be listed."""


def names_of(kind: str) -> dict[str, str]:
    """Names of one kind with a line of description each, in the order in which tables show them.

    Raises UserError for a kind that there is not.
    """
    if kind not in KINDS:
        raise UserError(unknown("kind", kind, KINDS))
    return KINDS[kind]()
