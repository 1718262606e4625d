"""What there is to choose from: the registries, one line each."""

from __future__ import annotations

from typing import Literal

Kind = Literal["arms", "sites", "backbones", "probes", "claims", "presets"]

SITES = {
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
PROBES = {
    "rank": "effective rank, largest-singular-value ratio and their companions, by site",
    "maps": "activation maps against the masks: activation IoU, AUROC, contrast, noise, sharpness",
    "attention": "where each head looks: distance, entropy, foreground, sinks; maps from one pixel",
    "similarity": "how alike features are between sites, arms and seeds: CKA, Procrustes, cosine",
    "decode": "how well linear probes find the foreground, against position and other masks",
    "lens": "which words of the language model the layer's tokens fall on, and whether by chance",
    "attribute": "which places the answer rests on (captum), against the mask, at any site",
    "field": "from how far, and which side, the input moves the centre; with and without the layer",
    "robustness": "scores on worse images: noise, blur, contrast, JPEG, resolution",
    "intervene": "scores when the layer is bypassed, cut, exchanged, projected; swaps between arms",
}


def overview(kind: Kind) -> dict[str, str]:
    """Names of one kind with a line of description each, in the order in which tables show them."""
    if kind == "arms":
        from llm4seg_probe.models.arms import ARMS

        return {name: arm.description for name, arm in ARMS.items()}
    if kind == "backbones":
        from llm4seg_probe.models.backbones import BACKBONES

        return {name: row.description for name, row in BACKBONES.items()}
    if kind == "presets":
        from llm4seg_probe.presets import presets

        return presets()
    if kind == "claims":
        return _claims()
    return SITES if kind == "sites" else PROBES


def _claims() -> dict[str, str]:
    from llm4seg_probe.study.analysis import analyses_folder, load_analysis

    found: dict[str, str] = {}
    for path in sorted(analyses_folder().glob("*.yaml")):
        for claim in load_analysis(path).claims:
            found.setdefault(claim.id, f"{claim.statement} ({path.name})")
    return found
