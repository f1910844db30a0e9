"""A scenario's table, and what it must hold: ratios within the run, never times."""

import dataclasses

import table


# Whether figures that depend on time are judged: not of a build for debugging, nor on a machine that
# does other work.
judges_times = True


@dataclasses.dataclass(frozen=True)
class Check:
    """A figure and its limit. A figure that is nowhere known does not hold."""

    text: str
    figure: float | None
    limit: float
    # Whether the limit is the highest that is allowed, or the lowest.
    is_most: bool = True
    # Whether it depends on time.
    is_timed: bool = False

    @property
    def is_judged(self):
        return judges_times or not self.is_timed

    @property
    def holds(self):
        if not self.is_judged:
            return True
        if self.figure is None:
            return False
        return self.figure <= self.limit if self.is_most else self.figure >= self.limit

    def line(self):
        said = table.NOTHING if self.figure is None else f"{self.figure:,.4g}"
        word = "at most" if self.is_most else "at least"
        verdict = ("ok  " if self.holds else "FAIL") if self.is_judged else "-   "
        return f"{verdict} {self.text}: {said} ({word} {self.limit:,.4g})"


@dataclasses.dataclass
class Verdict:
    """What came of a scenario. Without rows it was left out, and `title` says why."""

    name: str
    title: str
    columns: list = dataclasses.field(default_factory=list)
    rows: list = dataclasses.field(default_factory=list)
    checks: list = dataclasses.field(default_factory=list)

    @property
    def holds(self):
        return all(check.holds for check in self.checks)

    def at_most(self, text, figure, limit, is_timed=False):
        self.checks.append(Check(text, figure, limit, True, is_timed))

    def at_least(self, text, figure, limit, is_timed=False):
        self.checks.append(Check(text, figure, limit, False, is_timed))

    def lines(self):
        """In Markdown; what was judged comes below the table."""
        lines = ["", f"## {self.name}", "", f"{self.title}.", ""]
        if self.rows:
            numbers = len(self.columns) - 2
            lines.append("| " + " | ".join(self.columns) + " |")
            lines.append("|---|---|" + "--:|" * numbers)
            lines += ["| " + " | ".join(map(str, row)) + " |" for row in self.rows]
        if self.checks:
            lines += ["", "```", *(check.line() for check in self.checks), "```"]
        return lines

    def entry(self):
        """For programs."""
        checks = [{**dataclasses.asdict(it), "holds": it.holds} for it in self.checks]
        return {
            "scenario": self.name,
            "title": self.title,
            "holds": self.holds,
            "columns": self.columns,
            "rows": self.rows,
            "checks": checks,
        }


def lost(figures, is_open=True):
    """Requests without a good answer. A closed loop ends with some in flight; what an open loop could
    not send, or not finish, is a matter of time."""
    late = ["unfinished", "dropped"] if is_open and judges_times else []
    return sum(figures[name] for name in ["errors", "refused", *late])


def ratio(figure, other):
    """None where either is not known or nothing."""
    return figure / other if figure and other else None


def number(value, digits=0):
    return table.NOTHING if value is None else f"{value:,.{digits}f}"


def change(before, after):
    """`before → after (factor)`."""
    factor = ratio(after, before)
    said = table.NOTHING if factor is None else f"{factor:.2f}"
    return f"{number(before)} → {number(after)} ({said})"
