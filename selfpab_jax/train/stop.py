"""A polite end: SIGTERM and Ctrl-C ask the loop to save and leave."""

import signal

EXIT_STATUS = 75  # EX_TEMPFAIL: "stopped before the end, run me again with --resume"


class StopRequest:
    """Context manager that notes SIGTERM and SIGINT instead of dying of them; a second Ctrl-C interrupts at once."""

    def __init__(self):
        self.requested = False

    def _note(self, number, frame):
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def __enter__(self):
        self._old = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)
