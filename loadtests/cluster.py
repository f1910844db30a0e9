"""A throw-away PostgreSQL cluster: made from the programs that are installed, reached over a Unix
socket in a folder of its own, stopped and removed when it is closed or this process ends.

It shares the server's core, which is the only one that may be disturbed here, with the lowest
priority: a store on a machine of its own would take nothing of it.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.parse

import process

PROGRAMS = ["initdb", "pg_ctl", "createdb"]
USER = "hedgerow"
DATABASE = "journal"
LOWEST_PRIORITY = "19"
# The shell of `watch`: its end of the pipe closes however this process ends.
WATCHDOG = """
trap '' INT TERM HUP
cat
"$0/pg_ctl" -D "$1/data" -m immediate stop
rm -rf "$1"
"""


class Cluster:
    """A running cluster with one database."""

    def __init__(self):
        self.programs = programs()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hedgerow-pg-"))
        self.data = self.folder / "data"
        if user := other_user():
            shutil.chown(self.folder, user)
        self.watchdog = self.watch()
        try:
            more = ("-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
            self.run("initdb", "-D", self.data, "-U", USER, *more)
            self.start()
            self.run("createdb", "-h", self.folder, "-U", USER, DATABASE)
        except BaseException:
            self.close()
            raise

    def address(self):
        """As `journal.store` has it."""
        host = urllib.parse.quote(str(self.folder), safe="")
        return f"postgres://{USER}@{host}/{DATABASE}"

    def start(self):
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}'"
        log = self.folder / "log"
        self.run("pg_ctl", "-D", self.data, "-l", log, "-w", "-o", options, "start")

    def stop(self):
        """At once and without a goodbye, as a machine that fails."""
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def pause(self):
        """Its connections stay open and nobody answers."""
        self.signal_tree(signal.SIGSTOP)

    def resume(self):
        self.signal_tree(signal.SIGCONT)

    def close(self):
        """Stops it and removes its folder; the watchdog does both."""
        self.resume()
        self.watchdog.stdin.close()
        self.watchdog.wait()

    def signal_tree(self, number):
        """Only what descends from our own postmaster, whose id its folder has."""
        try:
            first = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return
        process.signal_all(process.descendants(first), number)

    def watch(self):
        words = as_user("sh", "-c", WATCHDOG, self.programs, self.folder)
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
        return subprocess.Popen(
            words, stderr=subprocess.DEVNULL, cwd="/", start_new_session=True, **streams
        )

    def run(self, name, *arguments):
        words = as_user(self.programs / name, *arguments)
        pinned = ["taskset", "-c", process.SERVER_CORE, "nice", "-n", LOWEST_PRIORITY, *words]
        # Into a file: a pipe would stay open as long as the server that pg_ctl starts.
        with tempfile.TemporaryFile("w+") as said:
            done = subprocess.run(
                [str(word) for word in pinned],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                cwd="/",
            )
            said.seek(0)
            reason = said.read().strip()
        if done.returncode != 0:
            raise process.Failed(f"{name}: {reason}")


def programs():
    """The folder of the newest PostgreSQL's programs; None when it is not installed."""
    folders = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders += map(pathlib.Path, os.environ.get("PATH", "").split(os.pathsep))
    for folder in folders:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    return None


def other_user():
    """PostgreSQL refuses to run as root: then it runs as its own user, or as nobody."""
    if os.geteuid() != 0:
        return None
    has_own = subprocess.run(["id", "postgres"], capture_output=True).returncode == 0
    return "postgres" if has_own else "nobody"


def as_user(*words):
    user = other_user()
    before = ["setpriv", f"--reuid={user}", "--clear-groups"] if user else []
    return [str(word) for word in [*before, *words]]
