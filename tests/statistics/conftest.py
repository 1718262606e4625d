"""Made-up studies and tables in files, as fixtures."""

from pathlib import Path

import pytest
import studies


@pytest.fixture(name="per_seed")
def _per_seed():
    return studies.per_seed


@pytest.fixture(name="study")
def _study():
    return studies.per_case


@pytest.fixture
def table(tmp_path: Path):
    """Writes lines as the CSV table of a stranger."""

    def written(*lines: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return written


@pytest.fixture
def scores(study):
    """Test scores of four arms, two of which gain."""
    effects = {"cnn": 0.0, "adapters": 0.0, "transformer": 0.02, "llm": 0.03}
    return study(effects, split="test", checkpoint="best")
