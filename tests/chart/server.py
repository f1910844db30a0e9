"""This server, started as a container would be, and probed as the kubelet does."""

import json
import re
import subprocess
import time
import urllib.error
import urllib.request

from chart import BINARY


class Server:
    """A server on free ports."""

    def __init__(self, arguments, env):
        self.process = subprocess.Popen(
            [BINARY, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.addresses = {}
        for line in self.process.stdout:
            found = re.match(r"\s+(HTTP|admin)\s+http://(\S+)", line)
            if found:
                self.addresses[found[1]] = found[2]
            if "admin" in self.addresses:
                break

    def ask(self, listener, path):
        """The answer, once it is there: like a probe, asked again while the server says 503."""
        url = f"http://{self.addresses[listener]}{path}"
        last = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return answer.read().decode()
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > last:
                    raise
            time.sleep(0.05)

    def post(self, listener, path, body):
        """The status of an answer."""
        url = f"http://{self.addresses[listener]}{path}"
        try:
            with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def stop(self):
        """The exit code after SIGTERM."""
        self.process.terminate()
        self.process.stdout.read()
        return self.process.wait(30)


def probe(described, moved=None, env=None):
    """The exit code of a probe that is a command, with folders where they are here."""
    program, *arguments = described["exec"]["command"]
    assert program == "hedgerow"
    for old, new in (moved or {}).items():
        arguments = [it.replace(old, new) for it in arguments]
    return subprocess.run([BINARY, *arguments], env=env or {}, capture_output=True).returncode
