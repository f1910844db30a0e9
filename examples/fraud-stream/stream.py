"""A stream of card payments, some of them fraud, with labels that come late.

It owns what a fraud team sees (features, amounts, labels in their own time) and what it never
sees (the truth). Time is in simulated hours from the start. The same seed gives the same payments
and labels. It scores nothing and talks to nobody. Standard library only.
"""

import math
import random
from bisect import bisect
from collections import deque
from dataclasses import dataclass
from typing import Optional

PAYMENTS_PER_HOUR = 360
"""Payments in an average hour; the hour of day moves it by a third either way."""

FRAUD_SHARE = 0.02
"""Frauds among the payments. Real streams have 0.1 % or less and take weeks; a demo has minutes."""

CARDS = 6000

FEATURES = (
    "amount",
    "amount_ratio",
    "category_risk",
    "country_mismatch",
    "hour",
    "seconds_since_last",
    "count_1h",
    "count_24h",
    "device_age_days",
    "new_payee",
    "distance_km",
    "card_present",
    "failed_attempts",
    "session_seconds",
)

CATEGORY_RISKS = (0.08, 0.1, 0.15, 0.25, 0.4, 0.55, 0.7, 0.85)
"""Groceries, dining, fuel, travel, fashion, electronics, games, gift cards."""

GENUINE_CATEGORIES = (30, 22, 12, 6, 12, 8, 6, 4)

UNLABELLED_FRAUDS = 0.03
"""Frauds that nobody ever reports: they stay in the data as genuine payments."""

ANALYST_FRAUDS = 0.4
"""Frauds that an analyst finds; the rest come back as chargebacks."""

CONFIRMED_PAYMENTS = 0.04
"""Genuine payments that the customer confirms; the others have no label at all."""


@dataclass(frozen=True)
class Behaviour:
    """How fraudsters, and customers, act for a while. Shares are between 0 and 1."""

    name: str
    amount_median: float
    amount_sigma: float
    burst_payments: float
    """Payments per stolen card, on average."""
    burst_gap_hours: float
    abroad: float
    online: float
    new_device: float
    new_payee: float
    scripted: float
    """Frauds whose checkout page is filled in by a script, in a few seconds."""
    failed_attempts: float
    """Wrong security codes before the payment, on average."""
    night: float
    categories: tuple
    one_tap: float = 0.0
    """Genuine online payments by a wallet that fills in the page, in a few seconds."""
    customers_abroad: float = 0.03
    """Genuine payments in another country than the card's."""
    customers_amount: float = 0.7
    """The median of a genuine payment, as part of the card's own mean."""


STOLEN_CARDS = Behaviour(
    name="stolen cards, large amounts abroad",
    amount_median=340.0,
    amount_sigma=0.6,
    burst_payments=3.0,
    burst_gap_hours=0.3,
    abroad=0.8,
    online=0.6,
    new_device=0.2,
    new_payee=0.5,
    scripted=0.02,
    failed_attempts=1.0,
    night=0.6,
    categories=(2, 2, 2, 12, 12, 35, 10, 25),
)

ACCOUNT_TAKEOVER = Behaviour(
    name="taken accounts, smaller amounts from new devices",
    amount_median=170.0,
    amount_sigma=0.5,
    burst_payments=2.5,
    burst_gap_hours=1.5,
    abroad=0.04,
    online=0.97,
    new_device=0.88,
    new_payee=0.8,
    scripted=0.0,
    failed_attempts=0.05,
    night=0.25,
    categories=(24, 16, 8, 8, 18, 12, 8, 6),
)

SCRIPTS = Behaviour(
    name="scripts on the customers' own devices",
    amount_median=180.0,
    amount_sigma=0.5,
    burst_payments=2.5,
    burst_gap_hours=1.0,
    abroad=0.04,
    online=0.99,
    new_device=0.06,
    new_payee=0.25,
    scripted=0.95,
    failed_attempts=0.05,
    night=0.25,
    categories=(24, 16, 8, 8, 18, 12, 8, 6),
)

PATIENT_HANDS = Behaviour(
    name="new devices again, by hand, while customers get a one-tap wallet",
    amount_median=190.0,
    amount_sigma=0.5,
    burst_payments=2.5,
    burst_gap_hours=1.5,
    abroad=0.04,
    online=0.97,
    new_device=0.9,
    new_payee=0.8,
    scripted=0.0,
    failed_attempts=0.05,
    night=0.25,
    categories=(24, 16, 8, 8, 18, 12, 8, 6),
    one_tap=0.2,
)

STORY = (
    (0, STOLEN_CARDS),
    (24, ACCOUNT_TAKEOVER),
    (100, SCRIPTS),
    (164, PATIENT_HANDS),
)
"""Who acts from which hour on in the demo, when every decision comes in time."""


@dataclass(frozen=True)
class Label:
    """What comes back about a payment, and when."""

    time: float
    value: bool
    source: str


@dataclass(frozen=True)
class Payment:
    """One payment: what is asked about it, and what is true about it."""

    id: str
    time: float
    card: int
    features: dict
    """Numbers by feature name; None is a missing value."""
    fraud: bool
    label: Optional[Label]
    """None when nothing will ever come back."""

    @property
    def amount(self):
        return self.features["amount"]


class Card:
    """A customer's habits, and the last day of the card."""

    __slots__ = ("amount_mean", "device_age", "last", "recent")

    def __init__(self, draw):
        self.amount_mean = draw.lognormal(50.0, 0.7)
        self.device_age = draw.exponential(300.0)
        self.last = -draw.exponential(20.0)
        self.recent = deque()

    def count(self, time):
        """Adds a payment; answers hours since the last one and the counts of 1 and 24 hours."""
        recent = self.recent
        while recent and recent[0] < time - 24.0:
            recent.popleft()
        hour = sum(1 for earlier in recent if earlier > time - 1.0)
        since, self.last = time - self.last, time
        recent.append(time)
        return since, hour, len(recent) - 1


class Draw:
    """Random numbers made of random() alone, which is the same in every Python."""

    def __init__(self, seed):
        self.uniform = random.Random(seed).random

    def chance(self, share):
        return self.uniform() < share

    def exponential(self, mean):
        return -mean * math.log(1.0 - self.uniform())

    def lognormal(self, median, sigma):
        angle = 2.0 * math.pi * self.uniform()
        normal = math.sqrt(-2.0 * math.log(1.0 - self.uniform())) * math.cos(angle)
        return median * math.exp(sigma * normal)

    def poisson(self, mean):
        """A count; exact, in time proportional to the mean."""
        count, left = 0, mean + math.log(1.0 - self.uniform())
        while left > 0.0:
            count += 1
            left += math.log(1.0 - self.uniform())
        return count

    def pick(self, cumulative):
        """An index, by cumulative weights."""
        return bisect(cumulative, self.uniform() * cumulative[-1])


class Stream:
    """Payments hour by hour.

    schedule: (first hour, Behaviour) in order of time, the first at 0.
    """

    def __init__(self, seed, schedule, payments_per_hour=PAYMENTS_PER_HOUR):
        self.draw = Draw(seed)
        self.schedule = list(schedule)
        self.payments_per_hour = payments_per_hour
        self.cards = [Card(self.draw) for _ in range(CARDS)]
        self.activity = cumulate(0.2 + self.draw.exponential(1.0) for _ in range(CARDS))
        self.genuine = cumulate(GENUINE_CATEGORIES)
        self.bursts = []
        self.prefix = f"{seed}"
        self.made = 0
        self.next_hour = 0

    def behaviour(self, time):
        """Who acts at that hour."""
        return [kind for start, kind in self.schedule if start <= time][-1]

    def change(self, kind):
        """Lets others act from the next hour on."""
        self.schedule.append((self.next_hour, kind))

    def hour(self):
        """The payments of the next hour, in order of time."""
        start = self.next_hour
        self.next_hour += 1
        draw, kind = self.draw, self.behaviour(start)
        daily = 1.0 + 0.33 * math.sin((start % 24 - 8) * math.pi / 12)
        planned = [
            (start + draw.uniform(), draw.pick(self.activity), None)
            for _ in range(draw.poisson(self.payments_per_hour * daily))
        ]
        self.start_bursts(start, kind)
        planned += [burst for burst in self.bursts if burst[0] < start + 1]
        self.bursts = [burst for burst in self.bursts if burst[0] >= start + 1]
        planned.sort(key=lambda plan: plan[:2])
        return [self.payment(*plan) for plan in planned]

    def start_bursts(self, start, kind):
        """Steals cards, and plans what is bought with them."""
        draw = self.draw
        is_night = start % 24 < 6
        share = kind.night / 0.25 if is_night else (1.0 - kind.night) / 0.75
        rate = self.payments_per_hour * FRAUD_SHARE / kind.burst_payments * share
        for _ in range(draw.poisson(rate)):
            time, card = start + draw.uniform(), draw.pick(self.activity)
            for _ in range(1 + draw.poisson(kind.burst_payments - 1.0)):
                self.bursts.append((time, card, kind))
                time += draw.exponential(kind.burst_gap_hours)

    def payment(self, time, card_id, thief):
        card = self.cards[card_id]
        since, count_1h, count_24h = card.count(time)
        how = self.stolen(thief) if thief else self.ordinary(card, self.behaviour(time))
        amount, risk, abroad, online, new_device, new_payee, session, attempts = how
        draw = self.draw
        usual = 1500.0 if abroad else (20.0 if online else 5.0)
        device = draw.uniform() * 2.0 if new_device else card.device_age + time / 24.0
        features = {
            "amount": round(max(amount, 1.0), 2),
            "amount_ratio": round(max(amount, 1.0) / card.amount_mean, 3),
            "category_risk": CATEGORY_RISKS[risk],
            "country_mismatch": int(abroad),
            "hour": math.floor(time % 24.0 * 100.0) / 100.0,
            "seconds_since_last": round(since * 3600.0),
            "count_1h": count_1h,
            "count_24h": count_24h,
            "device_age_days": round(device, 2) if online else None,
            "new_payee": int(new_payee),
            "distance_km": round(draw.lognormal(usual, 1.0), 1),
            "card_present": int(not online),
            "failed_attempts": attempts,
            "session_seconds": round(session, 1) if online else None,
        }
        self.made += 1
        label = self.label(time, thief is not None)
        return Payment(
            f"{self.prefix}-{self.made}", time, card_id, features, thief is not None, label
        )

    def stolen(self, thief):
        """Amount, category, abroad, online, new device, new payee, session, failed attempts."""
        draw = self.draw
        scripted = draw.chance(thief.scripted)
        return (
            draw.lognormal(thief.amount_median, thief.amount_sigma),
            draw.pick(cumulate(thief.categories)),
            draw.chance(thief.abroad),
            draw.chance(thief.online),
            draw.chance(thief.new_device),
            draw.chance(thief.new_payee),
            draw.lognormal(4.0, 0.3) if scripted else draw.lognormal(60.0, 0.6),
            draw.poisson(thief.failed_attempts),
        )

    def ordinary(self, card, kind):
        """The same of a genuine payment."""
        draw = self.draw
        online = draw.chance(0.45)
        one_tap = draw.chance(kind.one_tap)
        return (
            draw.lognormal(card.amount_mean * kind.customers_amount, 0.85),
            draw.pick(self.genuine),
            draw.chance(kind.customers_abroad),
            online,
            draw.chance(0.05),
            draw.chance(0.18),
            draw.lognormal(4.0, 0.3) if one_tap else draw.lognormal(60.0, 0.6),
            draw.poisson(0.03),
        )

    def label(self, time, fraud):
        draw = self.draw
        if not fraud:
            if draw.chance(CONFIRMED_PAYMENTS):
                return Label(time + draw.lognormal(1.5, 0.5), False, "customer")
            return None
        if draw.chance(UNLABELLED_FRAUDS):
            return None
        if draw.chance(ANALYST_FRAUDS):
            return Label(time + draw.lognormal(2.5, 0.5), True, "analyst")
        return Label(time + draw.lognormal(5.0, 0.55), True, "chargeback")


def cumulate(weights):
    """Running sums."""
    total, sums = 0.0, []
    for weight in weights:
        total += weight
        sums.append(total)
    return sums
