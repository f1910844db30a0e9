"""What shadow traffic costs the answers: challengers of every kind beside one champion."""

import grown
import plan
import train
from sides import Case, Side

LOOP = {
    "HEDGEROW__ROLLOUT__ON_ARRIVAL": "shadow",
    # Nobody is promoted meanwhile.
    "HEDGEROW__ROLLOUT__DURATION_MIN": "1d",
}
ALL = {"HEDGEROW__JOURNAL__ROWS_PER_SECOND_MAX": "1000000"}
COLUMNS = ("recorded", "skipped", "scored", "misfit", "invalid", "shadow_dropped", "dropped")


def cases():
    return [
        Case("shadow", "the default: 5,000 rows a second are recorded", sides(LOOP), COLUMNS),
        Case("shadow-all", "every row is recorded", sides(LOOP | ALL), COLUMNS),
    ]


def sides(loop):
    return [
        Side("alone", "recorded, nobody in shadow", loop, must_count=("recorded",)),
        Side("no-loop", "not recorded"),
        Side(
            *("ordinary", "a challenger like the champion", loop),
            challenger=lambda: train.model_file(plan.MAIN),
            must_count=("scored",),
        ),
        Side(
            *("slow", "a challenger of 5,000 trees of depth 8", loop),
            challenger=grown.heavy,
            must_count=("scored",),
        ),
        Side(
            *("misfit", "a challenger that no row fits", loop),
            challenger=grown.tiny,
            must_count=("misfit",),
        ),
        Side(
            *("undefined", "a challenger whose scores are NaN", loop),
            challenger=grown.undefined,
            must_count=("invalid",),
        ),
    ]
