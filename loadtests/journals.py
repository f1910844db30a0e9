"""What the journal's store costs the answers: SQLite, PostgreSQL, and one that stalls or stops."""

from sides import Case, Side

import shadow

COLUMNS = ("recorded", "skipped", "record_dropped", "written", "dropped")
# Some predictions are to be dropped within a window: the default would hold 13 s of them.
SHORT = {"HEDGEROW__JOURNAL__QUEUE_ROWS_MAX": "4096"}


def cases():
    loop, every = shadow.LOOP | SHORT, shadow.LOOP | SHORT | shadow.ALL
    return [
        Case("journal", "the default: 5,000 rows a second are recorded", sides(loop), COLUMNS),
        Case("journal-all", "every row is recorded", sides(every), COLUMNS),
    ]


def sides(loop):
    return [
        Side("sqlite", "SQLite", loop, must_count=("written",)),
        Side("no-loop", "not recorded"),
        Side("postgres", "PostgreSQL", loop, has_cluster=True, must_count=("written",)),
        Side(
            *("stalled", "PostgreSQL that does not answer for half of the window", loop),
            has_cluster=True,
            cut=("pause", "resume"),
            must_count=("written", "dropped"),
        ),
        Side(
            *("stopped", "PostgreSQL that is away for half of the window", loop),
            has_cluster=True,
            cut=("stop", "start"),
            must_count=("written", "dropped"),
        ),
    ]
