"""What is measured: closed loops first, then open loops, whose rates follow from those."""

import dataclasses

import servers
from servers import LIMIT, PEER, PRODUCT, RAW, REST, TYPED

MODELS = ["xgb-100x6", "xgb-500x8", "lgb-1000x63"]
# The model that everything is measured on; the others show how the picture moves with the model.
MAIN = MODELS[0]
ROWS = [1, 64]
CONNECTIONS = [1, 8, 32, 64]
# For peers, and for the other models: one client, and enough to saturate.
FEW_CONNECTIONS = [1, 32]
# Open loops: connections enough that none is waited for while the server keeps up.
OPEN_CONNECTIONS = 64
SHARES = {PRODUCT: [0.5, 0.8, 1.2], LIMIT: [0.5, 0.8, 1.2], PEER: [0.5, 0.8]}
SWEEP = [0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.1]
SWEPT = ["hedgerow", "axum-parse"]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the results, less its figures."""

    model: str
    protocol: str
    rows: int
    connections: int
    # Requests per second of an open loop, and the share of the capacity that it is; none: closed.
    rate: float | None = None
    share: float | None = None


def closed(model, quick):
    """`[(scenario, servers' names that take part)]`, in the order of a round."""
    listed = []
    for protocol in servers.PROTOCOLS:
        for rows in ROWS:
            for connections in FEW_CONNECTIONS if quick else CONNECTIONS:
                listed.append(Scenario(model, protocol, rows, connections))
    return listed


def takes_part(server, scenario):
    """Whether a closed loop is run on a server."""
    if scenario.protocol not in server.forms:
        return False
    few = scenario.connections in FEW_CONNECTIONS
    if scenario.model == MAIN:
        return few or server.kind != PEER
    if server.kind == PRODUCT:
        return few
    # The typed form differs from the raw one by what the library takes, whatever the model.
    return few and scenario.protocol != TYPED and not server.name.endswith("constant")


def open_loops(server, capacity, ours):
    """The open loops of a server; capacities are `{protocol: requests per second}` of one row."""
    listed = []
    for protocol in (REST, RAW):
        if protocol not in server.forms:
            continue
        base = capacity if server.kind == PEER else ours
        for share in SHARES[server.kind]:
            if protocol in base and not server.name.endswith("constant"):
                rate = base[protocol] * share
                listed.append(Scenario(MAIN, protocol, 1, OPEN_CONNECTIONS, rate, share))
    return listed


def sweep(ours):
    """Rates for the plot."""
    if REST not in ours:
        return []
    return [Scenario(MAIN, REST, 1, OPEN_CONNECTIONS, ours[REST] * share, share) for share in SWEEP]


def is_swept(scenario):
    """Whether a scenario is a point of the plot."""
    return scenario.rate is not None and scenario.protocol == REST
