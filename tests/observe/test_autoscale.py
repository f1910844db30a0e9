"""What autoscaling reads is what a client saw, and the formula that decides is Kubernetes'."""

import math

import custom_metrics
import pytest
from autoscale import Show, disagreements
from conftest import BINARY
from scaling import Autoscaler, desired, quantity


@pytest.fixture(scope="module")
def show(tmp_path_factory):
    show = Show(BINARY, tmp_path_factory.mktemp("show"), 10)
    yield show
    show.stop()


def test_the_charts_queries_and_the_histogram_give_the_clients_p95_then_0_then_nothing(show):
    # A machine that stalls for a while spoils a window: each sees another part of the stall.
    found = []
    for _ in range(3):
        step = show.step(0.3, 1)
        assert step.count > 10
        found.append(disagreements(step, show.bounds()))
        if not found[-1]:
            break
    assert [] in found, found

    idle = show.step(0.0, 1)
    assert idle.count == 0
    assert math.isnan(idle.values["bare"])
    read = [idle.values[name] for name in ("pod", "all", "adapter", "keda", "rows")]
    assert read == [0.0] * 5

    assert set(show.gone().values.values()) == {None}


@pytest.mark.parametrize(
    "current, value, target, replicas",
    [(2, 10.0, 10, 2), (2, 10.9, 10, 2), (2, 11.1, 10, 3), (4, 5.0, 10, 2), (3, 0.0, 10, 0)],
)
def test_a_metric_asks_for_its_share_of_the_target(current, value, target, replicas):
    assert desired(current, value, target) == replicas


def test_seconds_are_too_coarse_a_unit():
    assert quantity(0.0009) == 0.0 and quantity(0.9) == 0.9


def test_an_increase_is_bounded_and_a_decrease_waits():
    scaler = Autoscaler({"p95": 10}, most=20)
    assert scaler.decide(0, 1, {"p95": 100.0})[1] == 3
    assert scaler.decide(15, 3, {"p95": 40.0})[1] == 3
    assert scaler.decide(30, 3, {"p95": 40.0})[1] == 6
    # Ten and twelve were asked for: the highest wish of five minutes holds what there is.
    for moment in range(60, 331, 30):
        assert scaler.decide(moment, 6, {"p95": 1.0})[1] == 6
    assert scaler.decide(345, 6, {"p95": 1.0})[1] == 5
    assert scaler.decide(360, 5, {"p95": 1.0})[1] == 5
    assert scaler.decide(405, 5, {"p95": 1.0})[1] == 4


def test_a_decision_that_stands_for_long_takes_a_pod_a_minute():
    scaler = Autoscaler({"p95": 10}, step_s=150, most=20)
    assert scaler.decide(0, 20, {"p95": 2.0})[1] == 20
    assert scaler.decide(450, 20, {"p95": 2.0})[1] == 16
    assert scaler.decide(600, 10, {"p95": 2.0})[1] == 8


def test_without_a_value_nothing_shrinks():
    scaler = Autoscaler({"p95": 10, "queued": 100})
    assert scaler.decide(0, 4, {"p95": None, "queued": 0.0})[1] == 4
    assert scaler.decide(600, 4, {"p95": None, "queued": 200.0})[1] == 8


@pytest.mark.parametrize(
    "value, replicas",
    # Two of four are measured. The others count as idle on the way up, as at the target on the way down.
    [(15.0, 4), (30.0, 6), (11.0, 4), (5.0, 3), (0.0, 2), (9.5, 4)],
)
def test_replicas_that_are_not_measured_hold_a_change_back(value, replicas):
    assert desired(4, value, 10, measured=2) == replicas


def test_a_rule_of_the_adapter_is_filled_in_for_the_pods():
    rule = {
        "seriesQuery": 'rows{pod!=""}',
        "metricsQuery": "sum by (<<.GroupBy>>) (avg_over_time(<<.Series>>{<<.LabelMatchers>>}[1m]))",
    }
    assert custom_metrics.name(rule) == "rows"
    assert custom_metrics.name({**rule, "name": {"as": "busy"}}) == "busy"
    filled = 'sum by (pod) (avg_over_time(rows{namespace="prod",pod=~"a|b"}[1m]))'
    assert custom_metrics.expanded(rule, "prod", ["b", "a"]) == filled
