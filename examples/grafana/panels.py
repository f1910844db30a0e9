"""What the dashboard shows: rows of panels, each with its queries in PromQL.

`$namespace`, `$job` and `$slot` are chosen above the dashboard; Grafana sets `$__rate_interval` to at
least four scrapes.
"""

from dataclasses import dataclass, field

IN = 'namespace=~"$namespace", job=~"$job"'
SLOT = IN + ', slot=~"$slot"'


def rate(metric, labels=SLOT):
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


@dataclass(frozen=True)
class Panel:
    title: str
    unit: str
    queries: dict
    """Query by its legend."""
    words: str = ""
    kind: str = "timeseries"
    limits: dict = field(default_factory=dict)
    """The axis' `min` and `max`."""


DURATION = "hedgerow_request_duration_seconds"
COUNT = DURATION + "_count"
GOOD = IN + ', outcome!~"failed|deadline|shed"'


def latency(quantile):
    ok = SLOT + ', outcome="ok"'
    return f"histogram_quantile({quantile}, sum by (slot, le) ({rate(DURATION + '_bucket', ok)}))"


SHARE = {"min": 0, "max": 1}

ROWS = {
    "Service": [
        Panel(
            "Servers",
            "none",
            {"{{version}}": f"count by (version) (hedgerow_build_info{{{IN}}})"},
            "Scraped servers by version.",
            "stat",
        ),
        Panel(
            "Availability",
            "percentunit",
            {
                "answered": f"sum({rate(COUNT, GOOD)}) / (sum({rate(COUNT, IN)}) > 0)",
            },
            "Requests that did not fail, time out or get shed. Nothing without traffic.",
            "stat",
        ),
        Panel("P95", "s", {"{{slot}}": latency(0.95)}, "Of answered requests, by slot.", "stat"),
        Panel(
            "Error budget, burn",
            "none",
            {
                "availability {{job}}": f"hedgerow:unavailable:ratio_rate1h{{{IN}}} / 0.001",
                "latency {{slot}}": f"hedgerow:slow:ratio_rate1h{{{SLOT}}} / 0.01",
            },
            "Over an hour, in multiples of what lasts 30 days (the recording rules). 14.4 is a page.",
            "stat",
        ),
        Panel(
            "Requests",
            "reqps",
            {"{{protocol}} {{outcome}}": f"sum by (protocol, outcome) ({rate(COUNT, IN)})"},
        ),
        Panel("Rows", "rowsps", {"{{slot}}": f"sum by (slot) ({rate('hedgerow_rows_total')})"}),
        Panel(
            "Latency",
            "s",
            {f"P{round(q * 100)} {{{{slot}}}}": latency(q) for q in (0.5, 0.95, 0.99)},
            "From the first byte in memory to the answer; from the histogram, over all replicas.",
        ),
        Panel(
            "Latency, sliding",
            "s",
            {
                "P95 {{slot}} {{instance}}": f'hedgerow_latency_seconds{{{SLOT}, quantile="0.95"}}',
                "P99 {{slot}} {{instance}}": f'hedgerow_latency_seconds{{{SLOT}, quantile="0.99"}}',
            },
            "Each server's own, over telemetry.window_s; 0 without requests.",
        ),
        Panel(
            "Phases, mean",
            "s",
            {
                "{{slot}} {{phase}}": f"sum by (slot, phase) ({rate('hedgerow_phase_duration_seconds_sum')})"
                f" / (sum by (slot, phase) ({rate('hedgerow_phase_duration_seconds_count')}) > 0)"
            },
            "Queue is the wait for a compute thread; requests that run at once have none.",
        ),
        Panel(
            "Work now",
            "none",
            {
                "requests {{instance}}": f"hedgerow_requests_in_flight{{{IN}}}",
                "rows {{instance}}": f"hedgerow_rows_in_flight{{{IN}}}",
                "queued rows {{instance}}": f"hedgerow_queued_rows{{{IN}}}",
                "connections {{instance}}": f"hedgerow_connections{{{IN}}}",
            },
        ),
        Panel(
            "Shed",
            "reqps",
            {"{{reason}}": f"sum by (reason) ({rate('hedgerow_sheds_total', IN)})"},
            "Refused by a limit.",
        ),
        Panel(
            "Engine calls",
            "cps",
            {"{{slot}} {{reason}}": f"sum by (slot, reason) ({rate('hedgerow_batch_dispatch_total')})"},
            "By why they were dispatched.",
        ),
        Panel(
            "Rows per engine call",
            "none",
            {
                "{{slot}}": f"sum by (slot) ({rate('hedgerow_batch_rows_sum')})"
                f" / (sum by (slot) ({rate('hedgerow_batch_rows_count')}) > 0)"
            },
        ),
        Panel(
            "Cache hits",
            "percentunit",
            {
                "{{slot}}": f"sum by (slot) ({rate('hedgerow_cache_hits_total')}) / (sum by (slot)"
                f" ({rate('hedgerow_cache_hits_total')} + {rate('hedgerow_cache_misses_total')}) > 0)"
            },
            limits=SHARE,
        ),
    ],
    "Models": [
        Panel(
            "Revisions",
            "none",
            {"{{slot}} {{revision}} {{role}}": f"sum by (slot, revision, role, engine) (hedgerow_slot_info{{{SLOT}}})"},
            "Servers that have each revision in memory, by its role.",
            "table",
        ),
        Panel(
            "Swaps and refusals",
            "none",
            {
                "swaps {{slot}}": f"sum by (slot) (increase(hedgerow_swaps_total{{{SLOT}}}[$__rate_interval]))",
                "refused {{slot}}": f"sum by (slot) (hedgerow_refusals_total{{{SLOT}}})",
            },
            "Refused: in all, since the servers started.",
        ),
        Panel(
            "Memory of models",
            "bytes",
            {"{{slot}} {{revision}}": f"max by (slot, revision) (hedgerow_model_bytes{{{SLOT}}})"},
        ),
        Panel(
            "A row's cost",
            "s",
            {"{{slot}} {{revision}}": f"max by (slot, revision) (hedgerow_row_cost_seconds{{{SLOT}}})"},
            "Measured when the revision was loaded: a call with one row.",
        ),
        Panel(
            "Rows that broke a rule",
            "rowsps",
            {
                "{{slot}} {{feature}} {{check}} {{action}}": "sum by (slot, feature, check, action)"
                f" ({rate('hedgerow_validation_rows_total')})"
            },
        ),
    ],
    "Trials": [
        Panel(
            "Quality",
            "none",
            {
                "{{metric}} {{role}} {{revision}} {{slot}}": "max by (slot, revision, role, metric)"
                f' (hedgerow_quality{{{SLOT}, metric=~"f1|precision|recall|auc"}})'
            },
            "Over the newest matured outcomes.",
            limits=SHARE,
        ),
        Panel(
            "Labels",
            "none",
            {"{{status}}": f"sum by (status) (increase(hedgerow_feedback_labels_total{{{IN}}}[$__rate_interval]))"},
            "By what became of them.",
        ),
        Panel(
            "Label coverage",
            "percentunit",
            {"{{slot}}": f"min by (slot) (hedgerow_label_coverage{{{SLOT}}})"},
            "Of the predictions older than the horizon.",
            limits=SHARE,
        ),
        Panel(
            "Evidence",
            "none",
            {"{{gate}} {{revision}} {{slot}}": f"max by (slot, revision, gate) (hedgerow_gate_e_value{{{SLOT}}})"},
            "A gate passes at 1/alpha (20).",
        ),
        Panel(
            "Estimated difference",
            "none",
            {"{{gate}} {{revision}} {{slot}}": f"max by (slot, revision, gate) (hedgerow_gate_estimate{{{SLOT}}})"},
            "Above 0 the challenger is better.",
        ),
        Panel(
            "Outcomes",
            "none",
            {
                "{{role}} {{revision}} {{slot}}": f"max by (slot, revision, role) (hedgerow_quality_outcomes{{{SLOT}}})",
                "pairs {{revision}} {{slot}}": f"max by (slot, revision) (hedgerow_trial_pairs{{{SLOT}}})",
            },
        ),
        Panel(
            "Decisions",
            "none",
            {"{{slot}} {{decision}}": f"sum by (slot, decision) (hedgerow_decisions_total{{{SLOT}}})"},
            "Since the servers started.",
        ),
        Panel(
            "Cost of waiting, per hour",
            "none",
            {"{{slot}}": f"max by (slot) (hedgerow_waiting_cost_per_hour{{{SLOT}}})"},
            "By the configured costs.",
        ),
        Panel(
            "Rows in shadow",
            "rowsps",
            {
                "{{revision}} {{outcome}} {{slot}}": "sum by (slot, revision, outcome)"
                f" ({rate('hedgerow_shadow_rows_total')})",
                "dropped {{slot}}": f"sum by (slot) ({rate('hedgerow_shadow_dropped_rows_total')})",
            },
        ),
        Panel(
            "Records",
            "rowsps",
            {
                "{{slot}} {{outcome}}": f"sum by (slot, outcome) ({rate('hedgerow_record_rows_total')})",
                "journal {{outcome}}": f"sum by (outcome) ({rate('hedgerow_journal_rows_total', IN)})",
            },
        ),
        Panel(
            "Journal: lag",
            "s",
            {"{{instance}}": f"hedgerow_journal_lag_seconds{{{IN}}}"},
            "The oldest prediction that waits to be written.",
        ),
        Panel(
            "Journal: store and leader",
            "none",
            {
                "connected {{instance}}": f"hedgerow_journal_connected{{{IN}}}",
                "leader {{instance}}": f"hedgerow_rollout_leader{{{IN}}}",
            },
            limits=SHARE,
        ),
        Panel("Journal: size", "bytes", {"{{instance}}": f"hedgerow_journal_bytes{{{IN}}}"}),
        Panel(
            "Exported log",
            "rowsps",
            {"{{slot}}": f"sum by (slot) ({rate('hedgerow_export_rows_total')})"},
            "Predictions in complete files.",
        ),
        Panel(
            "Exported log: lag",
            "s",
            {"{{slot}}": f"max by (slot) (hedgerow_export_lag_seconds{{{SLOT}}})"},
            "The oldest prediction that is due and in no file; up to export.rotate is normal.",
        ),
    ],
    "Drift": [
        Panel(
            "Verdict",
            "none",
            {"{{slot}} {{window}}": f"max by (slot, window) (hedgerow_drift_verdict{{{SLOT}}})"},
            "-1 unknown, 0 none, 1 watch, 2 act.",
            limits={"min": -1, "max": 2},
        ),
        Panel(
            "PSI of features, short window",
            "none",
            {
                "{{feature}} {{slot}}": "topk(10, max by (slot, feature)"
                f' (hedgerow_drift_psi{{{SLOT}, window="short"}}))'
            },
            "Above what chance gives; the worst. 0.1 is watch, 0.25 is act.",
        ),
        Panel(
            "PSI of the score",
            "none",
            {"{{slot}} {{window}}": f"max by (slot, window) (hedgerow_drift_score_psi{{{SLOT}}})"},
        ),
        Panel(
            "Drifted features",
            "none",
            {
                "{{slot}} {{window}} {{verdict}}": "max by (slot, window, verdict)"
                f" (hedgerow_drift_features{{{SLOT}}})"
            },
        ),
        Panel(
            "Estimated quality",
            "none",
            {
                "{{metric}} {{slot}}": "max by (slot, metric)"
                f' (hedgerow_estimated_quality{{{SLOT}, window="short"}})'
            },
            "Without labels (CBPE): blind to a change of what a score means.",
            limits=SHARE,
        ),
        Panel(
            "Rows of windows",
            "none",
            {
                "{{slot}} {{window}}": f"max by (slot, window) (hedgerow_drift_rows{{{SLOT}}})",
                "not counted {{slot}}": f"sum by (slot) (hedgerow_drift_skipped_rows_total{{{SLOT}}})",
            },
        ),
        Panel(
            "Alarms",
            "none",
            {
                "raised {{slot}}": f"max by (slot) (hedgerow_drift_alarm{{{SLOT}}})",
                "given {{slot}}": f"sum by (slot) (hedgerow_drift_alarms_total{{{SLOT}}})",
            },
        ),
        Panel(
            "Calls",
            "none",
            {"{{target}} {{outcome}}": f"sum by (target, outcome) (hedgerow_drift_calls_total{{{IN}}})"},
            "Alarms that a target has, and that it does not have.",
        ),
        Panel(
            "References",
            "none",
            {"{{slot}} {{state}}": f"max by (slot, state) (hedgerow_drift_reference{{{SLOT}}})"},
            limits=SHARE,
        ),
    ],
}
