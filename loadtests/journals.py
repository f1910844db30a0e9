"""What the journal's store costs the answers: SQLite, PostgreSQL, and one that stalls or stops."""

from sides import Case, Side

import shadow

COLUMNS = ("recorded", "skipped", "record_dropped", "written", "dropped")
# While the store is away, predictions are to be dropped within a window: the default queue holds
# 13 s of them.
SHORT = {"HEDGEROW__JOURNAL__QUEUE_ROWS_MAX": "2048"}


def cases():
    default, every = sides(shadow.LOOP), sides(shadow.LOOP | shadow.ALL)
    return [
        Case("journal", "the default: 5,000 rows a second are recorded", default, COLUMNS),
        Case("journal-all", "every row is recorded", every, COLUMNS),
    ]


def sides(loop):
    return [
        Side("sqlite", "SQLite", loop, must_count=("written",)),
        Side("no-loop", "not recorded"),
        Side("postgres", "PostgreSQL", loop, has_cluster=True, must_count=("written",)),
        Side(
            *("stalled", "PostgreSQL that does not answer for half of the window", loop | SHORT),
            has_cluster=True,
            cut=("pause", "resume"),
            must_count=("written", "dropped"),
        ),
        Side(
            *("stopped", "PostgreSQL that is away for half of the window", loop | SHORT),
            has_cluster=True,
            cut=("stop", "start"),
            must_count=("written", "dropped"),
        ),
    ]
