"""Counts money by the simulator's truth: what was answered, and what each revision would have cost.

A missed fraud costs its amount, a false alarm a review. The server knows the truth only through
late labels; nothing here goes to it.
"""

from dataclasses import dataclass
from typing import Optional

THRESHOLD = 0.5
REVIEW_COST = 25.0


@dataclass(frozen=True)
class Entry:
    time: float
    missed: float
    """Fraud that went through."""
    cost: Optional[float]
    """The same and reviews; None when nobody was asked."""
    cost_by_revision: dict


class Ledger:
    """All payments, in order of time."""

    def __init__(self, forests):
        self.forests = forests
        self.entries = []

    def add(self, payment, score):
        """score: what was answered; None when nobody was asked."""
        asked = score is not None
        flagged = asked and score >= THRESHOLD
        by_revision = {
            name: cost(payment, forest.score(payment.features) >= THRESHOLD)
            for name, forest in self.forests.items()
        }
        missed = payment.amount if asked and payment.fraud and not flagged else 0.0
        answered = cost(payment, flagged) if asked else None
        self.entries.append(Entry(payment.time, missed, answered, by_revision))

    def between(self, start, end):
        return [entry for entry in self.entries if start <= entry.time < end]

    def missed(self, start, end):
        """Money that fraudsters got between two hours."""
        return sum(entry.missed for entry in self.between(start, end))

    def against(self, revision, start, end):
        """What the answers saved between two hours against this revision answering all of them."""
        return sum(
            entry.cost_by_revision[revision] - entry.cost
            for entry in self.between(start, end)
            if entry.cost is not None
        )

    def difference(self, worse, better, start, end):
        """What one revision would have cost more than another."""
        return sum(
            entry.cost_by_revision[worse] - entry.cost_by_revision[better]
            for entry in self.between(start, end)
        )


def cost(payment, flagged):
    if payment.fraud:
        return 0.0 if flagged else payment.amount
    return REVIEW_COST if flagged else 0.0
