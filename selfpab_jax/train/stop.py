"""How a run ends before its end: a stop that was asked for, a failure, or a step that does not finish."""

import faulthandler
import os
import signal
import sys
import threading

RUN_AHEAD = 2  # steps dispatched beyond the one known to be done: hides the host's work, bounds the delay of a stop
EXIT_STATUS = 75  # EX_TEMPFAIL: "stopped before the end, run me again with --resume"


class RunFailed(RuntimeError):
    """The run cannot go on; the message is one sentence for whoever started it."""


class StopRequest:
    """Context manager that notes SIGTERM and SIGINT instead of dying of them; a second Ctrl-C interrupts at once.

    Attributes:
      requested: a signal came; whoever has something to save does so and leaves.
      nothing_to_save: while True a signal ends the process at once with EXIT_STATUS, even in the midst of an import
        or a compilation: Python notes a signal only between two instructions, and a compilation is one.
    """

    def __init__(self):
        self.requested, self.nothing_to_save = False, True

    def _note(self, number, frame):
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True

    def _watch(self, pipe: int) -> None:
        """Reads the numbers of the signals as they arrive, whatever the main thread is doing, until the pipe closes."""
        while number := os.read(pipe, 1):
            if number[0] in self._old and self.nothing_to_save:
                print("\nstopped while there was nothing to save; run again with --resume", file=sys.stderr, flush=True)
                sys.stdout.flush()
                os._exit(EXIT_STATUS)
        os.close(pipe)

    def __enter__(self):
        read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._old_pipe = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._old = {s: signal.signal(s, self._note) for s in (signal.SIGTERM, signal.SIGINT)}
        threading.Thread(target=self._watch, args=(read,), daemon=True, name="stop requests").start()
        return self

    def __exit__(self, *exception):
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_pipe)
        os.close(self._write)


class StallWatch:
    """Context manager that ends the process where `beat` is not called for `limit_s` seconds; 0 never does.

    A process that hangs holds up all others of its run, and none of them notices: it is alive. The stacks of all
    threads go to stderr, the exit status is 1.
    """

    def __init__(self, limit_s: float):
        self._limit_s, self._beaten, self._left = limit_s, threading.Event(), False

    def beat(self) -> None:
        """A step has finished."""
        self._beaten.set()

    def _watch(self) -> None:
        while not self._left:
            if not self._beaten.wait(self._limit_s):
                said = (
                    f"no step has finished for {self._limit_s:g} s, here or in another process; where this one stands:"
                )
                print(f"\n{said}", file=sys.stderr, flush=True)
                faulthandler.dump_traceback()
                os._exit(1)
            self._beaten.clear()

    def __enter__(self):
        if self._limit_s:
            threading.Thread(target=self._watch, daemon=True, name="stall watch").start()
        return self

    def __exit__(self, *exception):
        self._left = True
        self.beat()
