"""A server that clients fill is not ready, and lives."""

import http.client
import re
import socket
import time

import pytest
from chart import BASE, config, merged, only, render
from server import probe

CONNECTIONS = 8


def running_as_rendered(server, tmp_path, values):
    """The Deployment's container, what runs as it says on free ports, and its probe of life."""
    some = {"connections_max": CONNECTIONS, "drain_delay_ms": 0}
    resources = render(merged(BASE, {"config": {"server": some}}, values))
    (container,) = only(resources, "Deployment")["spec"]["template"]["spec"]["containers"]
    text = re.sub(r'= "(.*):808\d"', r'= "\1:0"', config(resources))
    for folder in ("/models", "/var/lib/hedgerow"):
        (tmp_path / folder[1:]).mkdir(parents=True)
        text = text.replace(f'"{folder}', f'"{tmp_path}{folder}')
    file = tmp_path / "hedgerow.toml"
    file.write_text(text)
    running = server([*container["args"][:-1], str(file)])
    moved = {container["args"][-1]: str(file)}
    env = {"HEDGEROW__SERVER__ADMIN": running.addresses["admin"]}
    return container, running, lambda: probe(container["livenessProbe"], moved, env)


def status(running, described):
    """What an HTTP probe is answered, None where the connection is closed instead."""
    port = running.addresses["HTTP"].rpartition(":")[2]
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=5)
    try:
        connection.request("GET", described["httpGet"]["path"])
        return connection.getresponse().status
    except ConnectionError:
        return None
    finally:
        connection.close()


def until(what):
    last = time.monotonic() + 20
    while not what():
        assert time.monotonic() < last
        time.sleep(0.05)


@pytest.mark.parametrize("exposed", [False, True])
def test_a_full_server_is_not_ready_and_lives(server, tmp_path, exposed):
    container, running, life = running_as_rendered(server, tmp_path, {"admin": {"exposed": exposed}})
    ready = container["readinessProbe"]
    until(lambda: status(running, ready) == 200)
    assert life() == 0
    port = int(running.addresses["HTTP"].rpartition(":")[2])
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    until(lambda: status(running, ready) is None)
    assert life() == 0
    for it in held:
        it.close()
    until(lambda: status(running, ready) == 200)
    running.stop()
    assert life() == 1
