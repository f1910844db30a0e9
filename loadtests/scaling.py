"""What the HorizontalPodAutoscaler would decide: its documented formula, with the chart's behaviour.

Kubernetes' controller is not run: these are its rules for metrics that are averaged over pods.
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


def desired(current, value, target):
    """Replicas that one metric asks for."""
    ratio = quantity(value) / target
    if abs(ratio - 1) <= TOLERANCE:
        return current
    return math.ceil(current * ratio)


@dataclass
class Autoscaler:
    """Decides at the end of steps that stand for `step_s` seconds each."""

    targets: dict
    step_s: float
    least: int = 1
    most: int = 10
    wishes: list = field(default_factory=list)
    """The highest wish at each step so far."""

    def decide(self, current, values):
        """The wish of each metric, and the replicas that are set. A metric without a value (None)
        stops a decrease, and an increase goes by the others, as the controller has it."""
        asked = {
            name: None if values[name] is None else desired(current, values[name], target)
            for name, target in self.targets.items()
        }
        known = [wish for wish in asked.values() if wish is not None]
        wish = max(known, default=current)
        if len(known) < len(asked):
            wish = max(wish, current)
        self.wishes.append(min(self.most, max(self.least, wish)))
        return asked, self.limited(current)

    def limited(self, current):
        """The newest wish within the limits of the behaviour."""
        wish = self.wishes[-1]
        if wish > current:
            return min(wish, max(current * UP_FACTOR, current + UP_PODS))
        # A decrease is to the highest wish of the window, and no faster than its policies.
        remembered = self.wishes[-1 - int(STABILIZATION_S / self.step_s) :]
        periods = max(1, int(self.step_s / DOWN_PERIOD_S))
        floor = current - periods * max(DOWN_PODS, int(current * DOWN_SHARE))
        return min(current, max(max(remembered), floor))
