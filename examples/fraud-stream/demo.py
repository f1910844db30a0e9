#!/usr/bin/env python3
"""Plays the story of a fraud model against a real server: make demo.

A champion degrades when fraudsters change; a challenger is tried in shadow and promoted on
evidence; a bad revision is held; a revision that was good turns bad and is rolled back. One second
is one simulated hour. Payments and labels follow from the seed; the hour of a decision may shift
a little with the speed of the machine. Standard library only.
"""

import argparse
import heapq
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

sys.dont_write_bytecode = True

import narration
import stream
from forest import Forest
from ledger import REVIEW_COST, THRESHOLD, Ledger
from narration import clock, money, number
from server import Server, ServerError

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models/fraud"

HORIZON_HOURS = 16
"""A payment without a report counts as genuine after this; 97 % of the reports are in by then."""

PATIENCE_HOURS = 72
"""The three days that a manual approval takes."""

DELAY_HOURS_MAX = 48
"""How long the story waits for a decision before it gives up."""

LABELS_EVERY_S = 0.2
LOOK_EVERY_S = 0.5
BEHIND_S_MAX = 1.0

SETTINGS = """
[models]
poll_interval_ms = 200
settle_ms = 0

[telemetry]
log_level = "warn"

[journal]
store = "{folder}/data"

[slots.fraud.rollout]
on_arrival = "shadow"
stages = ["shadow", "25%", "full"]
approval = "automatic"
gates = ["cost > 0", "auc > -0.01"]
label_horizon = "{horizon_s}s"
absence_means = "negative"
threshold = {threshold}
cost_false_positive = {review_cost}
cost_amount_feature = "amount"
cost_amount_rate = 1.0
cost_limit = 500.0
labels_min = 1000
positives_min = 50
duration_min = "5s"
stage_min = "2s"
cooldown = "0s"
promotions_per_day_max = 0
rollbacks_per_week_max = 0
"""
"""The server's configuration. In it a second is an hour of the story."""


@dataclass(frozen=True)
class Step:
    """What happens at an hour, and who must be champion by then for the story to go on."""

    hour: int
    champion: str
    words: str
    revision: Optional[str] = None
    withdraws: Optional[str] = None
    """A revision that its team takes away, where it is still on trial."""
    behaviour: Optional[stream.Behaviour] = None


STEPS = (
    Step(
        stream.STORY[1][0],
        "1",
        "FRAUDSTERS CHANGE: smaller amounts, from new devices, to new payees.",
        behaviour=stream.STORY[1][1],
    ),
    Step(46, "1", "REVISION 2 ARRIVES, trained on the new fraud. It goes into shadow.", "2"),
    Step(
        82,
        "2",
        "REVISION 3 ARRIVES, trained in a hurry: frauds not yet reported are genuine in its data.",
        "3",
    ),
    Step(
        stream.STORY[2][0],
        "2",
        "FRAUDSTERS CHANGE: scripts pay from the customers' own devices, in seconds.",
        behaviour=stream.STORY[2][1],
    ),
    Step(122, "2", "REVISION 4 ARRIVES, trained on the scripts. It goes into shadow.", "4", "3"),
    Step(
        stream.STORY[3][0],
        "4",
        "FRAUDSTERS CHANGE: new devices again, by hand. CUSTOMERS get a one-tap wallet.",
        behaviour=stream.STORY[3][1],
    ),
    Step(204, "2", "THE END of the payments."),
)
"""The story. A step whose champion is late moves itself and all later ones."""


class Pace:
    """The clock of the story: simulated hours from the start, by the machine's clock."""

    def __init__(self, speed):
        self.speed = speed
        self.start = time.monotonic()
        self.date = datetime.now(timezone.utc)
        self.slipped_s = 0.0

    def now(self):
        return (time.monotonic() - self.start - self.slipped_s) * self.speed

    def wait(self, hours):
        """Sleeps until then; on a machine that cannot follow, the story slows down."""
        ahead = (hours - self.now()) / self.speed
        if ahead > 0.002:
            time.sleep(ahead)
        elif -ahead > BEHIND_S_MAX:
            self.slipped_s -= ahead

    def rfc3339(self, hours):
        """The moment of the machine's clock, never one in the future."""
        then = self.date + timedelta(seconds=hours / self.speed + self.slipped_s)
        return min(then, datetime.now(timezone.utc)).isoformat(timespec="milliseconds")


class Demo:
    """The story as it goes: who is champion, what was decided, and what it was worth."""

    def __init__(self, server, options):
        self.server = server
        self.stream = stream.Stream(options.seed, stream.STORY[:1])
        self.ledger = Ledger({path.name: Forest(path / "model.json") for path in MODELS.iterdir()})
        self.pace = None
        self.live = sys.stdout.isatty()
        self.labels = []
        self.next_labels = self.next_look = 0.0
        self.state = {}
        self.decided = 0
        """The number of the last decision that was told."""
        self.held = None
        """The last decision's first line when it was to hold: it is told once."""
        self.labels_decided = None
        self.arrived = {}
        self.champions = [(0.0, "1")]
        """(hour, revision), every change of it."""
        self.labels_then = {}
        """Labels that a change of champion was decided on, by its place in champions."""
        self.trials = {}
        """(hour, challenger): the last that was seen of each."""
        self.changed = {}
        """Hours at which fraudsters changed, by the champion's name then."""

    @property
    def champion(self):
        return self.champions[-1][1]

    def say(self, text, hours=None):
        at = clock(self.pace.now() if hours is None else hours)
        print(f"{self.clear()}[{at}] {text}", flush=True)

    def clear(self):
        return "\r\x1b[K" if self.live else ""

    def play(self, speed):
        """The whole story; whether it came as it is told."""
        self.pace = Pace(speed)
        steps, delay, hour = list(STEPS), 0, 0
        while True:
            while steps and hour >= steps[0].hour + delay and self.champion == steps[0].champion:
                self.take(steps.pop(0), hour)
            if not steps:
                return True
            if hour >= steps[0].hour + delay:
                delay += 1
            if delay > DELAY_HOURS_MAX:
                self.say(f"revision {steps[0].champion} is not champion: the story ends here")
                return False
            self.play_hour()
            hour += 1
            if hour % 24 == 0:
                self.tell_day(hour)

    def take(self, step, hour):
        self.say(step.words, hour)
        if step.behaviour:
            self.stream.change(step.behaviour)
            self.changed[step.champion] = hour
        if step.withdraws in self.on_trial():
            self.say(f"revision {step.withdraws} is withdrawn by its team, still in shadow", hour)
            self.server.withdraw_revision(step.withdraws)
        if step.revision:
            self.arrived[step.revision] = hour
            self.server.add_revision(MODELS / step.revision)

    def play_hour(self):
        for payment in self.stream.hour():
            self.pace.wait(payment.time)
            self.tick()
            self.ledger.add(payment, self.server.predict(payment))
            if payment.label:
                label = payment.label
                heapq.heappush(self.labels, (label.time, payment.id, label.value, label.source))

    def tick(self):
        """Sends the labels that are due, and looks at the slot, now and then."""
        now = time.monotonic()
        if now >= self.next_labels:
            self.next_labels = now + LABELS_EVERY_S
            due = []
            while self.labels and self.labels[0][0] <= self.pace.now():
                at, key, value, source = heapq.heappop(self.labels)
                due.append((key, value, source, self.pace.rfc3339(at)))
            if due:
                self.server.send_labels(due)
        if now >= self.next_look:
            self.next_look = now + LOOK_EVERY_S
            self.look()

    def look(self):
        """Reads the slot's state and tells what is new."""
        self.state = self.server.state()
        for entry in self.server.decisions():
            if entry.get("seq", 0) <= self.decided:
                continue
            self.decided = entry["seq"]
            lines = narration.decision_lines(entry)
            if lines[0] == self.held:
                continue
            self.held = lines[0] if entry.get("decision") == "hold" else None
            self.say(f"  DECISION {lines[0]}")
            for line in lines[1:]:
                print(f"{'':20}{line}", flush=True)
            self.labels_decided = narration.labels_of(entry.get("evidence"))
        for name, challenger in self.on_trial().items():
            self.trials[name] = (self.pace.now(), challenger)
        champion = narration.revision_of(self.state.get("champion"))
        if champion not in (None, self.champion):
            self.labels_then[len(self.champions)] = self.labels_decided
            self.champions.append((self.pace.now(), champion))
            self.say(f"  revision {champion} answers now")
        if self.live:
            text = "; ".join(map(narration.challenger_line, self.on_trial().values()))
            line = f"[{clock(self.pace.now())}] champion {self.champion}; {text}"
            width = shutil.get_terminal_size().columns - 1
            print(f"{self.clear()}{line[:width]}", end="", flush=True)

    def on_trial(self):
        """The challengers by name."""
        found = self.state.get("challengers", [])
        return {narration.revision_of(challenger): challenger for challenger in found}

    def tell_day(self, hour):
        """The champion as its matured labels show it, the money, and the challengers."""
        role = self.state.get("champion")
        recall, f1 = (number(narration.metric(role, name)) for name in ("recall", "f1"))
        today = money(self.ledger.missed(hour - 24, hour))
        self.say(
            f"champion {self.champion}: F1 {f1}, recall {recall}; fraud went through: "
            f"{today} in 24 hours, {money(self.ledger.missed(0, hour))} in all",
            hour,
        )
        for challenger in self.on_trial().values():
            print(f"{'':20}{narration.challenger_line(challenger)}", flush=True)
        waiting = self.state.get("cost_of_waiting")
        if isinstance(waiting, dict):
            waiting = waiting.get("per_hour", waiting.get("value"))
        if isinstance(waiting, (int, float)):
            # The server's hour is 3600 seconds, the story's is one of its seconds.
            per_hour = waiting / 3600.0 / self.pace.speed
            print(f"{'':20}waiting costs {money(per_hour)} an hour", flush=True)

    def look_ahead(self):
        """Lets the payments go on without a server, to know what waiting would have cost."""
        last = max([self.stream.next_hour, *self.arrived.values(), *self.changed.values()])
        while self.stream.next_hour < last + PATIENCE_HOURS:
            for payment in self.stream.hour():
                self.ledger.add(payment, None)

    def became(self, revision, after=0.0):
        """(hour, labels) of its first promotion after an hour, or None."""
        for place, (hour, name) in enumerate(self.champions):
            if name == revision and hour > after:
                return hour, self.labels_then.get(place)
        return None

    def rows(self):
        """The table: decision, when, labels, money."""
        ledger, rows = self.ledger, []

        def row(decision, moment, words):
            rows.append((decision, clock(moment[0]), number(moment[1]), words))

        second, third, fourth = (self.became(name) for name in "234")
        if second:
            arrival = self.arrived["2"]
            saved = ledger.against("1", arrival, arrival + PATIENCE_HOURS)
            row("promote 2 over 1", second, f"saved {money(saved)} against waiting three days")
        if "3" in self.arrived:
            arrival = self.arrived["3"]
            loss = ledger.difference("3", "2", arrival, arrival + PATIENCE_HOURS)
            seen, trial = self.trials.get("3", (arrival, None))
            moment = third or (seen, narration.labels_of(trial))
            words = f"would have lost {money(loss)} in three days"
            row("promote 3: WRONG" if third else "hold 3", moment, words)
        back = self.became("2", fourth[0]) if fourth else None
        if fourth:
            change = self.changed.get("4", self.stream.next_hour)
            saved = ledger.against("2", self.arrived["4"], change)
            row("promote 4 over 2", fourth, f"saved {money(saved)} until fraudsters changed")
        if back:
            end = change + PATIENCE_HOURS
            saved = ledger.difference("4", "2", back[0], end)
            lost = -ledger.against("2", change, back[0])
            words = (
                f"saved {money(saved)} against noticing in three days, after losing {money(lost)}"
            )
            row("roll back 4 to 2", back, words)
        return rows


def tell_end(demo, as_told):
    end = demo.stream.next_hour
    payments, missed = len(demo.ledger.entries), demo.ledger.missed(0, end)
    demo.look_ahead()
    print(f"\n{payments:,} payments, {money(missed)} of fraud went through.")
    statuses = ", ".join(f"{number(count)} {name}" for name, count in demo.server.statuses.items())
    print(f"Labels: {statuses or 'none'}.")
    if demo.pace.slipped_s > 1.0:
        print(f"The machine was {demo.pace.slipped_s:.0f} s too slow; the story took longer.")
    print()
    print(
        narration.table(
            ("decision", "when", "labels", "money, by the simulator's truth"), demo.rows()
        )
    )
    as_told = as_told and demo.became("3") is None
    print(f"\nThe story came {'as it is told' if as_told else 'OTHERWISE than it is told'}.")
    return as_told


def settings(folder, speed):
    return SETTINGS.format(
        folder=folder,
        horizon_s=max(1, round(HORIZON_HOURS / speed)),
        threshold=THRESHOLD,
        review_cost=REVIEW_COST,
    )


def options_of_command_line():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=7, help="of payments and labels")
    parser.add_argument("--speed", type=float, default=1.0, help="simulated hours a second")
    parser.add_argument(
        "--binary", type=Path, default=HERE.parent.parent / "target/release/hedgerow"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, with log and journal")
    return parser.parse_args()


def main():
    options = options_of_command_line()
    folder = Path(tempfile.mkdtemp(prefix="hedgerow-demo-"))
    server = Server(options.binary.resolve(), folder, "fraud")
    keep = options.keep
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if not options.binary.is_file():
            raise ServerError(f"{options.binary} is not there: build it with `make build`")
        server.add_revision(MODELS / "1")
        server.start(settings(folder, options.speed))
        print(
            f"Revision 1 serves card payments; seed {options.seed}, {options.speed:g} h a second."
        )
        demo = Demo(server, options)
        as_told = tell_end(demo, demo.play(options.speed))
        return 0 if as_told else 1
    except KeyboardInterrupt:
        return 130
    except (ServerError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        keep = keep or server.log.exists()
        return 1
    finally:
        server.stop()
        if keep:
            print(f"The folder is {folder}.")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
