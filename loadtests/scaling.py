"""What the HorizontalPodAutoscaler would decide: its documented formula, with the chart's behaviour.

Kubernetes' controller is not run: these are its rules for metrics that are averaged over pods. hpa.py
holds them against the controller.
"""

import math
from dataclasses import dataclass, field

TOLERANCE = 0.1
UP_FACTOR, UP_PODS, UP_PERIOD_S = 2, 2, 30
DOWN_SHARE, DOWN_PODS, DOWN_PERIOD_S = 0.1, 1, 60
STABILIZATION_S = 300


def quantity(value):
    """A float as prometheus-adapter and KEDA hand it on: cut off to thousandths."""
    return int(value * 1000) / 1000


def desired(current, value, target, measured=None):
    """Replicas that one metric asks for. `value` is the mean of those that were measured: all, if it is
    not said. The others count as at the target where that holds a decrease up, and as idle where that
    holds an increase down; neither turns one into the other."""
    ratio = quantity(value) / target
    missing = 0 if measured is None else current - measured
    if missing:
        first, ratio = ratio, (ratio * measured + (missing if ratio < 1 else 0)) / current
        if (first < 1) != (ratio < 1):
            return current
    if 1 - TOLERANCE <= ratio <= 1 + TOLERANCE:
        return current
    return math.ceil(current * ratio)


@dataclass
class Autoscaler:
    """Decides at moments that are told, in seconds; each is later than the one before. A decision stands
    for `step_s`, where more than a period of the behaviour goes by until the next."""

    targets: dict
    step_s: float = 0
    least: int = 1
    most: int = 10
    stabilization_s: float = STABILIZATION_S
    wishes: list = field(default_factory=list)
    """(moment, the highest wish of the metrics)."""
    changes: list = field(default_factory=list)
    """(moment, replicas that were added, or taken away if it is negative)."""

    def decide(self, moment, current, values, measured=None):
        """The wish of each metric, and the replicas that are set. A metric without a value (None)
        stops a decrease, and an increase goes by the others, as the controller has it. `measured` is how
        many replicas each metric has a value of, where it is not all."""
        if not self.wishes:
            self.wishes.append((moment, current))
        asked = {
            name: None
            if values[name] is None
            else desired(current, values[name], target, (measured or {}).get(name))
            for name, target in self.targets.items()
        }
        known = [wish for wish in asked.values() if wish is not None]
        wish = max(known, default=0)
        if len(known) < len(asked) and (not known or wish < current):
            # Not even remembered as a wish.
            return asked, current
        decided = self.limited(moment, current, wish)
        self.wishes.append((moment, wish))
        if decided != current:
            self.changes.append((moment, decided - current))
        return asked, decided

    def limited(self, moment, current, wish):
        """The wish within the limits of the behaviour: a decrease is to the highest wish of the
        window, and both are no faster than their policies allow."""
        if wish > current:
            start = current - self.changed(moment, UP_PERIOD_S)
            ceiling = max(math.ceil(start * UP_FACTOR), start + UP_PODS)
            return min(wish, self.most, max(current, ceiling))
        recent = [it for at, it in self.wishes if moment - at <= self.stabilization_s]
        floor = current - self.changed(moment, DOWN_PERIOD_S)
        for _ in range(max(1, int(self.step_s / DOWN_PERIOD_S))):
            floor = min(int(floor * (1 - DOWN_SHARE)), floor - DOWN_PODS)
        return min(current, max(wish, *recent, self.least, floor))

    def changed(self, moment, period_s):
        """Replicas that were added in the period, less those taken away."""
        return sum(change for at, change in self.changes if moment - at < period_s)
