"""Made-up studies as fixtures."""

import pytest
import studies


@pytest.fixture(name="per_seed")
def _per_seed():
    return studies.per_seed


@pytest.fixture(name="study")
def _study():
    return studies.per_case
