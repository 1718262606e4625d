"""Three hundred malformed inputs of all families: each is accepted, or refused in one line.

``make fuzz`` runs thousands, with other seeds.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus import FAMILIES, Materials
from forked import outcome
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

COUNT = 300
# Drawing a page takes seconds, reading a table none: pages come less often.
_OFTEN = [name for name in FAMILIES for _ in range(1 if name == "results" else 6)]


@pytest.mark.slow
def test_malformed_inputs_are_refused_in_one_line(source: Materials, tmp_path: Path) -> None:
    count = iter(range(10 * COUNT))

    @settings(
        max_examples=COUNT,
        derandomize=True,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(_OFTEN), st.integers(0, 2**32))
    def one(family: str, seed: int) -> None:
        found = outcome(source, family, seed, tmp_path / str(next(count)))
        assert not found.fault, f"{family} {seed}: {found.fault}: {found.command}\n{found.said}"

    one()
