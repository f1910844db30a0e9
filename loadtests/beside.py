"""Something done every so often in a thread, beside what is measured."""

import contextlib
import threading


@contextlib.contextmanager
def every(seconds, act, begin=None):
    """Calls `act` every so many seconds (0: without a pause) until it gives False; `begin` first."""
    stop = threading.Event()

    def run():
        if begin is not None:
            begin()
        while not stop.wait(seconds):
            if act() is False:
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
