#!/usr/bin/env python3
"""Plays a change of the customers against a real server that watches for drift: make drift-demo.

A day of payments is a window. The reference is a profile of two days before, or with --served the
first rows that the server answers. Quiet days come first; then customers of a new market pay as others
do. The script counts every payment that it sends in the server's own bins, and exits with 0 only
when the server's counts, PSI, order of features and alarm are what those payments give. Standard
library only.
"""

import argparse
import csv
import json
import math
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

sys.dont_write_bytecode = True

import stream
from recount import PATIENCE_S, check, check_alarm
from server import JSON, Server, ServerError

HERE = Path(__file__).resolve().parent
REVISION = HERE / "models/fraud/2"
SLOT = "fraud"

WARM_HOURS = 48
"""Cards begin without a past: until then count_24h and seconds_since_last follow the stream's age."""

REFERENCE_DAYS = 2

HOME = stream.ACCOUNT_TAKEOVER
NEW_MARKET = replace(
    HOME,
    name="a new market: often abroad, by wallet, for less",
    one_tap=0.6,
    customers_abroad=0.3,
    customers_amount=0.42,
)
"""The fraudsters stay as they are: 2 % of the rows move no feature's PSI by more than 0.02."""

IGNORED = ("hour",)
"""A sliding window of a day lacks up to a twelfth of it, which this feature shows and nothing else."""

SETTINGS = """
[telemetry]
log_level = "warn"

[drift]
watch = "{watch}"
short_window = "{window_ms}ms"
long_window = "1h"
{reference_rows}
ignore = {ignored}
alarm_windows = 2
cooldown = "1h"
rows_per_second_max = 1000000
{calls}
"""


class Receiver:
    """Takes the webhook's events."""

    def __init__(self):
        self.events = events = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                events.append((self.headers["Content-Type"], json.loads(body)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/drift"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Story:
    """What was sent, and when the server said what of it."""

    def __init__(self, server, seed, window_s):
        self.server = server
        self.window_s = window_s
        self.stream = stream.Stream(seed, [(0, HOME)])
        self.watched = []
        """Payments after the reference, and those of them after the change."""
        self.changed = []
        self.reached = {"watch": {}, "act": {}}
        """By verdict and feature: rows after the change until the short window said so."""
        self.false_alarms = set()

    def day(self):
        return [self.stream.hour() for _ in range(24)]

    def send(self, payments):
        body = json.dumps({"instances": [payment.features for payment in payments]})
        path = f"/v1/models/{SLOT}:predict"
        status, answer = self.server.ask("http", "POST", path, body, JSON)
        if status != 200:
            raise ServerError(f"POST {path} answered {status}: {answer[:300]}")

    def report(self):
        return self.server.look(f"/v1/slots/{SLOT}/drift")

    def wait(self, what, found):
        """The report, once that is found in it."""
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit:
            report = self.report()
            if found(report):
                return report
            time.sleep(0.05)
        raise ServerError(f"no {what} within {PATIENCE_S:.0f} s")

    def is_counted(self, report):
        return report["windows"] and report["windows"][1]["rows"] == len(self.watched)

    def begin(self):
        report = self.wait("reference", lambda it: it["reference"]["state"] == "ready")
        kind, rows = report["reference"]["source"], report["reference"]["rows"]
        print(f"REFERENCE ({kind}): {rows:,} payments of two whole days.")

    def play(self, quiet_days, market_days):
        """All days, each in a window of the server's clock."""
        start = math.ceil(time.time() / self.window_s) * self.window_s
        for number in range(quiet_days + market_days):
            is_market = number >= quiet_days
            if number == quiet_days:
                self.stream.change(NEW_MARKET)
                print(f"\nTHE CUSTOMERS CHANGE: {NEW_MARKET.name}.")
            for hour, payments in enumerate(self.day()):
                at = start + (number + hour / 24) * self.window_s
                time.sleep(max(0.0, at - time.time()))
                self.send(payments)
                self.watched += payments
                self.changed += payments if is_market else []
                self.look(is_market)
            self.tell_day(number + 1)

    def look(self, is_market):
        """Notes which features the short window finds to have drifted."""
        report = self.wait("count of what was sent", self.is_counted)
        for feature in report["windows"][0]["features"]:
            name, verdict = feature["name"], feature["verdict"]
            for limit in {"watch": ("watch",), "act": ("watch", "act")}.get(verdict, ()):
                if not is_market:
                    self.false_alarms.add(name)
                elif name not in self.reached[limit]:
                    self.reached[limit][name] = len(self.changed)
                    if limit == verdict:
                        rows, psi = len(self.changed), feature["psi_excess"]
                        print(f"  after {rows:6,} rows: {name} is at {verdict}, PSI {psi:.2f}")

    def tell_day(self, number):
        window = self.report()["windows"][0]
        worst = max(
            (it for it in window["features"] if it["reason"] != "ignored"),
            key=lambda it: it["psi_excess"] or 0.0,
        )
        print(
            f"day {number}: {window['rows']:,} rows, verdict {window['verdict']}; the most: "
            f"{worst['name']}, PSI {worst['psi_excess'] or 0.0:.3f}",
            flush=True,
        )


def profile(options, folder, payments):
    """The revision with a profile of these payments beside its model; gives its folder."""
    revision, data = folder / REVISION.name, folder / "reference.csv"
    shutil.copytree(REVISION, revision, ignore=shutil.ignore_patterns("profile.json"))
    if options.served:
        return revision
    with data.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*stream.FEATURES, "is_fraud"])
        rows.writerows([*payment.features.values(), int(payment.fraud)] for payment in payments)
    command = [options.binary, "profile", data, "--label", "is_fraud", "--model", revision]
    subprocess.run([*command, "-o", revision / "profile.json"], check=True, stdout=subprocess.DEVNULL)
    return revision


def settings(options, receiver, reference_rows):
    calls = {"webhook_url": receiver.url}
    if options.prefect:
        calls = {
            "prefect_url": options.prefect,
            "prefect_deployment": options.deployment,
            "prefect_auth": options.prefect_auth,
        }
    return SETTINGS.format(
        window_ms=round(options.window * 1000),
        watch="on" if options.served else "auto",
        reference_rows=f"reference_rows = {reference_rows}" if options.served else "",
        ignored=json.dumps(IGNORED),
        calls="\n".join(f"{name} = {json.dumps(value)}" for name, value in calls.items()),
    )


def tell(options, server):
    """The command line, as a person would ask it."""
    command = [options.binary, "drift", SLOT, "--url", f"http://127.0.0.1:{server.ports['admin']}"]
    print(f"\n$ hedgerow drift {SLOT} --window both --top 6\n", flush=True)
    subprocess.run([*command, "--window", "both", "--top", "6"], check=True)
    if options.html:
        subprocess.run([*command, "--html", options.html], check=True)


def play(options, folder, server, receiver):
    """The whole story; what was wrong in it."""
    story = Story(server, options.seed, options.window)
    for _ in range(WARM_HOURS):
        story.stream.hour()
    hours = [hour for _ in range(REFERENCE_DAYS) for hour in story.day()]
    reference = [payment for hour in hours for payment in hour]
    server.add_revision(profile(options, folder, reference))
    server.start(settings(options, receiver, len(reference)))
    if options.served:
        for payments in hours:
            story.send(payments)
    story.begin()
    story.play(options.quiet_days, options.market_days)
    wrong = check(story, story.report(), IGNORED)
    settled = lambda it: it["alarm"]["last"] and it["alarm"]["last"]["calls"]
    report = story.wait("alarm", settled)
    print()
    wrong += check_alarm(report, receiver, set(story.reached["act"]), options)
    tell(options, server)
    return wrong


def options_of_command_line():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7, help="of the payments")
    parser.add_argument("--window", type=float, default=12.0, help="seconds of a day, whole ones")
    parser.add_argument("--quiet-days", type=int, default=2, help="days before the change")
    parser.add_argument("--market-days", type=int, default=3, help="days after it, at least two")
    parser.add_argument("--served", action="store_true", help="no profile: the first rows are the reference")
    parser.add_argument("--html", type=Path, help="write the page of the drift to this file")
    parser.add_argument("--prefect", help="Prefect's address: its flow is run, instead of a webhook")
    parser.add_argument("--prefect-auth", default="", help="user:password")
    parser.add_argument("--deployment", default="retrain/prod", help="flow/deployment")
    parser.add_argument(
        "--binary", type=Path, default=HERE.parent.parent / "target/release/hedgerow"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, with the log")
    return parser.parse_args()


def main():
    options = options_of_command_line()
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-drift-"))
    server, receiver = Server(options.binary.resolve(), folder, SLOT), Receiver()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not options.binary.is_file():
            raise ServerError(f"{options.binary} is not there: build it with `make build`")
        wrong = play(options, folder, server, receiver)
        for line in wrong:
            print(f"WRONG: {line}")
        print(f"\nThe story came {'OTHERWISE than' if wrong else 'as'} it is told.")
        return 1 if wrong else 0
    except KeyboardInterrupt:
        return 130
    except (ServerError, OSError, subprocess.CalledProcessError) as error:
        print(f"\ndrift: {error}", file=sys.stderr)
        return 1
    finally:
        server.stop()
        if options.keep:
            print(f"The folder is {folder}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
