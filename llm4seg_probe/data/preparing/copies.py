"""Images that a data set holds twice: found by content, kept, and never parted by a split."""

from __future__ import annotations

from llm4seg_probe.data.collection import Sample


def same_content(
    samples: list[Sample], contents: dict[str, str]
) -> tuple[dict[str, str], tuple[int, int]]:
    """What a split must not part, by group, where images of equal pixels link groups.

    ``contents``: hash of each image's pixels, by name. Returns the text ``together`` of each
    group, empty for one that is linked to no other, and how many images have copies, in how many
    clusters.
    """
    parent = {sample.group: sample.group for sample in samples}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    clusters: dict[str, list[Sample]] = {}
    for sample in samples:
        clusters.setdefault(contents[sample.image], []).append(sample)
    several = [cluster for cluster in clusters.values() if len(cluster) > 1]
    for cluster in several:
        for sample in cluster[1:]:
            parent[root(sample.group)] = root(cluster[0].group)
    linked = {root(g) for g in parent if root(g) != g}
    together = {g: f"copies of {root(g)}" if root(g) in linked else "" for g in parent}
    return together, (sum(map(len, several)), len(several))
