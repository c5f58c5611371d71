"""When the samples of an Axivity .cwa file were taken: which blocks follow each other, and the time of each sample.

A block says at which sample its stamp was true. In a run of blocks without a break, time goes straight from one such
anchor to the next; before the first and behind the last it goes on at the run's own rate there.
"""

import numpy as np

from data_pipelines.raw import Report
from data_pipelines.readers.axivity_blocks import BLOCK, TICKS, anchors

# A device's rate is up to 2 % off its nominal one; anything that still fits is no break.
RATE_TOLERANCE, SLACK_SAMPLES = 0.05, 2
WHOLE_SECOND_S = 0.25  # what a stamp without a fraction may be off, read with a buffer of samples; 1 without an offset
SLOWEST, FASTEST = 0.9, 1.1  # of the nominal rate, between two anchors
ENDS = 64  # anchors that show the rate at the ends of a run: over a minute at 100 Hz
LONGEST_HELD = 8192  # blocks that may wait for an anchor behind them, 4 MiB
LATE = "out of order or clock went back"
REMEMBERED = 4096  # blocks among which one that comes again is called repeated

TIMING = np.dtype(
    [
        ("start", "f8"),  # s since 1970, by the nominal rate
        ("length", "f8"),  # s
        ("slack", "f8"),  # s
        ("sequence", "i8"),
        ("place", "i8"),  # the stamp's sample
        ("ticks", "i8"),  # the stamp
    ]
)


def _timing(rows: np.ndarray, rate_hz: float) -> np.ndarray:
    timing = np.empty(len(rows), TIMING)
    timing["place"], timing["ticks"] = anchors(rows, rate_hz)
    timing["start"] = timing["ticks"] / TICKS - timing["place"] / rate_hz
    timing["length"] = rows["samples"] / rate_hz
    timing["slack"] = SLACK_SAMPLES / rate_hz + np.where(
        rows["rate"] == 0, 1.0, np.where(rows["fraction"] & 0x8000, 0, WHOLE_SECOND_S)
    )
    timing["sequence"] = rows["sequence"]
    return timing


def _agree(earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    """bool [N]: the time between two blocks is that of the samples between them, lost blocks counted as full."""
    steps = later["sequence"] - earlier["sequence"]
    expected = steps * earlier["length"]
    off = np.abs(later["start"] - earlier["start"] - expected)
    return (steps > 0) & (off <= RATE_TOLERANCE * expected + later["slack"])


def _lone(timing: np.ndarray) -> np.ndarray:
    """bool [N]: blocks out of place between two that fit together, and blocks that fit to neither neighbour and are
    ahead of the next one: believing these would cost all that follow."""
    lone = np.zeros(len(timing), bool)
    if len(timing) < 3:
        return lone
    follows = _agree(timing[:-1], timing[1:])
    around = _agree(timing[:-2], timing[2:])
    ahead = timing["start"][1:-1] > timing["start"][2:]
    alone = ~follows[:-1] & ~follows[1:]
    lone[1:-1] = (alone & (around | ahead)) | (around & ahead)
    # At the ends of the file the next two blocks decide.
    lone[0], lone[-1] = ~follows[0] & follows[1], ~follows[-1] & follows[-2]
    return lone


class Order:
    """Which blocks can be used, in the order of a file read in parts."""

    def __init__(self, rate_hz: float):
        self._rate_hz = rate_hz
        self._rows, self._timing, self._decided = np.empty(0, BLOCK), np.empty(0, TIMING), 0
        self._before = self._accepted = np.empty(0, TIMING)  # the last block: any, and one that is used
        self._end = -np.inf
        self._keys = np.empty(0, np.uint64)

    def take(self, rows: np.ndarray, report: Report, final: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The blocks that can be used, their timing, and where a new run begins (bool); the rest goes to the report.

        The last block waits for the next call, unless this is the final one: the one behind it may disprove it.
        """
        rows = np.concatenate([self._rows, rows])
        timing = np.concatenate([self._timing, _timing(rows[len(self._rows) :], self._rate_hz)])
        first, until = self._decided, len(rows) if final else len(rows) - 1 if len(rows) >= 3 else 0
        kept = ~_lone(timing)
        if lost := int(np.count_nonzero(~kept[first:until])):
            report.bad("time unlike its neighbours", lost)
        keep = max(until - 2, 0)  # two decided ones as neighbours
        self._rows, self._timing, self._decided = rows[keep:].copy(), timing[keep:], until - keep
        rows, timing = rows[first:until], timing[first:until]
        if lost:
            rows, timing = rows[kept[first:until]], timing[kept[first:until]]
        self._count_jumps(timing, report)
        late = self._late(rows, timing, report)
        if late.any():
            rows, timing = rows[~late], timing[~late]
        chain = np.concatenate([self._accepted, timing])
        begins = np.ones(len(timing), bool)
        begins[len(timing) - len(chain) + 1 :] = ~(_agree(chain[:-1], chain[1:]) & (np.diff(chain["sequence"]) == 1))
        self._accepted = chain[-1:]
        return rows, timing, begins

    def _count_jumps(self, timing: np.ndarray, report: Report) -> None:
        chain = np.concatenate([self._before, timing])
        self._before = chain[-1:]
        jumped = (np.diff(chain["sequence"]) == 1) & ~_agree(chain[:-1], chain[1:])
        steps = (np.diff(chain["start"]) - chain["length"][:-1])[jumped]
        report.clock_jumps += len(steps)
        report.largest_jump_s = float(max([report.largest_jump_s, *steps.tolist()], key=abs))

    def _late(self, rows: np.ndarray, timing: np.ndarray, report: Report) -> np.ndarray:
        """bool [N]: blocks that begin before the end of another one."""
        end = np.maximum.accumulate(np.append(self._end, timing["start"] + timing["length"]))
        self._end = end[-1]
        late = timing["start"] < end[:-1] - RATE_TOLERANCE * timing["length"] - timing["slack"]
        keys = np.concatenate([self._keys, rows["sequence"].astype(np.uint64) << 32 | rows["stamp"]])
        if late.any():
            order = np.argsort(keys, kind="stable")
            again = np.zeros(len(keys), bool)
            again[order[1:]] = (keys[order[1:]] == keys[order[:-1]]) & (np.diff(order) <= REMEMBERED)
            repeated = int(np.count_nonzero(again[len(self._keys) :] & late))
            for reason, count in (("repeated", repeated), (LATE, int(np.count_nonzero(late)) - repeated)):
                if count:
                    report.bad(reason, count)
        self._keys = keys[-REMEMBERED:]
        return late


class Run:
    """Blocks that follow each other without a break, and the times of their samples as far as they are settled.

    Args:
      step_us: the microseconds a sample if there is but one block: those at the end of the run before.
    """

    def __init__(self, rate_hz: float, step_us: float):
        self._rate_hz, self._step_us, self._second = rate_hz, step_us, 0
        self._rows = np.empty(0, BLOCK)
        self._samples = 0  # those before the blocks that wait
        self._index, self._time = np.empty(0, np.int64), np.empty(0)  # anchors: sample, microseconds
        self._slow = self._fast = -np.inf
        self._begun = False

    def add(self, rows: np.ndarray, timing: np.ndarray) -> None:
        """Appends blocks (BLOCK [N]) with their TIMING."""
        if not len(self._index):
            self._second = int(timing["ticks"][0]) // TICKS
        counts = rows["samples"].astype(np.int64)
        begin = self._samples + int(self._rows["samples"].sum(dtype=np.int64))
        index = begin + np.cumsum(counts) - counts + timing["place"]
        time = (timing["ticks"] - self._second * TICKS) * (1e6 / TICKS)
        # A stamp that says nothing new, such as the same second once more, is no anchor, nor one that bends time.
        expected = time * (self._rate_hz / 1e6)
        slow = np.maximum.accumulate(np.append(self._slow, expected - SLOWEST * index))
        fast = np.maximum.accumulate(np.append(self._fast, FASTEST * index - expected))
        used = (np.diff(slow) > 0) & (np.diff(fast) > 0)
        self._slow, self._fast = slow[-1], fast[-1]
        self._index, self._time = np.append(self._index, index[used]), np.append(self._time, time[used])
        self._rows = np.concatenate([self._rows, rows]) if len(self._rows) else rows

    @property
    def overlong(self) -> bool:
        """More blocks wait than memory is meant for."""
        return len(self._rows) > LONGEST_HELD

    def take(self, final: bool) -> tuple[np.ndarray, np.ndarray]:
        """The blocks with settled times, and those, int64 [S] in microseconds; all of them at the run's end."""
        index, time = self._index, self._time
        ends = self._samples + np.cumsum(self._rows["samples"], dtype=np.int64)
        if final:
            count = len(ends)
        else:
            enough = self._begun or len(index) >= ENDS
            count = int(np.searchsorted(ends, index[-1], "right")) if enough else 0
        if not count:
            return self._rows[:0], np.empty(0, np.int64)
        first, last = self._samples, int(ends[count - 1])
        slope = np.concatenate([[self._slope(slice(0, ENDS))], np.diff(time) / np.diff(index), [self.step_us]])
        level = np.append(time[0], time) - np.append(index[0], index) * slope
        spans = np.diff(np.concatenate([[first], np.clip(index, first, last), [last]]))
        clock = np.arange(first, last, dtype=np.float64)
        clock *= np.repeat(slope, spans)
        clock += np.repeat(level, spans)
        clock = np.rint(clock, out=clock).astype(np.int64)
        clock += self._second * 1_000_000
        rows, self._rows = self._rows[:count], self._rows[count:].copy()
        self._samples, self._begun = last, True
        forget = max(min(int(np.searchsorted(index, last, "right")) - 1, len(index) - ENDS), 0)
        self._index, self._time = index[forget:], time[forget:]
        return rows, clock

    @property
    def step_us(self) -> float:
        """Microseconds a sample at the end of the run."""
        return self._slope(slice(-ENDS, None))

    def _slope(self, part: slice) -> float:
        """Microseconds a sample between the first and the last of these anchors."""
        index, time = self._index[part], self._time[part]
        return (time[-1] - time[0]) / (index[-1] - index[0]) if len(index) > 1 else self._step_us
