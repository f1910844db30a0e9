"""Compiles the server and the two programs of the load tests; their paths."""

import json
import subprocess

from places import ROOT


class CannotBuild(Exception):
    """Cargo failed; it has said why."""


def hedgerow():
    return build("build", "--release", "--bin", "hedgerow")["hedgerow"]


def smoke():
    """The server and the generator, compiled as the tests do; by name."""
    return build("build", "--features", "lightgbm", "--bin", "hedgerow", "--bench", "load")


def load():
    """The load generator."""
    return build("bench", "--no-run", "--bench", "load")["load"]


def load_and_bare():
    """The load generator and the bare servers, by name."""
    return build("bench", "--no-run", "--bench", "load", "--bench", "bare")


def build(*arguments):
    command = ["cargo", *arguments, "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise CannotBuild(f"{' '.join(command)} failed")
    messages = map(json.loads, done.stdout.splitlines())
    built = (message for message in messages if message.get("executable"))
    return {message["target"]["name"]: message["executable"] for message in built}
