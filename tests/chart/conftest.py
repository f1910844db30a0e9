"""What the tests of the chart share."""

import pytest
from chart import combinations, render
from server import Server


@pytest.fixture(scope="session")
def rendered():
    """The resources of every combination of switches, by name."""
    return {name: render(values) for name, values in combinations().items()}


@pytest.fixture
def server():
    """Starts servers and stops them."""
    started = []

    def start(arguments, env=None):
        started.append(Server(arguments, env or {}))
        return started[-1]

    yield start
    for it in started:
        if it.process.poll() is None:
            it.stop()
