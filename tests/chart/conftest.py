"""What the tests of the chart share."""

import pytest
from chart import combinations, render


@pytest.fixture(scope="session")
def rendered():
    """The resources of every combination of switches, by name."""
    return {name: render(values) for name, values in combinations().items()}
