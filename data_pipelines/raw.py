"""What a raw sensor file is to the rest: pieces of signal that fit into memory, and a report of what was wrong."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_pipelines.windows import GAP_STEPS

CHANGED = "{}: changed while it was read: run the same command again once it is whole"


class Piece(NamedTuple):
    """Consecutive samples of one sensor, gaps left in; a few minutes as a rule.

    Attributes:
      time: int64 [N], microseconds since 1970 by the device's own clock, strictly increasing from piece to piece too.
      acceleration: float32 [N, 3], g.
      temperature: float32 [N], degrees Celsius; None if the file has none, as the following.
      light: float32 [N], lux.
      battery: float32 [N], V.
      gyroscope: float32 [N, 3], degrees a second.
    """

    time: np.ndarray
    acceleration: np.ndarray
    temperature: np.ndarray | None = None
    light: np.ndarray | None = None
    battery: np.ndarray | None = None
    gyroscope: np.ndarray | None = None


@dataclasses.dataclass
class Report:
    """What was found in a file, complete once all its pieces have been read.

    Attributes:
      blocks: blocks of data in the file, bad ones included; 0 for formats without blocks.
      bad_blocks: why -> how many of them are left out, as gaps.
      clock_jumps: steps of the clock between blocks that follow each other; they are gaps.
      largest_jump_s: the largest of these, signed.
      samples: those read.
      gaps: steps in time that lack at least one sample.
      missing_s: seconds without samples between the first sample and the last.
      longest_gap_s: seconds.
      first_us, last_us: times of the first and last sample, microseconds since 1970.
      utc_offset_us: microseconds by which the clock is ahead of UTC at the first sample; None where the file is silent.
    """

    blocks: int = 0
    bad_blocks: dict[str, int] = dataclasses.field(default_factory=dict)
    clock_jumps: int = 0
    largest_jump_s: float = 0.0
    samples: int = 0
    gaps: int = 0
    missing_s: float = 0.0
    longest_gap_s: float = 0.0
    first_us: int | None = None
    last_us: int | None = None
    utc_offset_us: int | None = None

    def bad(self, reason: str, blocks: int = 1) -> None:
        """Counts bad blocks."""
        self.bad_blocks[reason] = self.bad_blocks.get(reason, 0) + int(blocks)

    def add(self, time: np.ndarray, rate_hz: float) -> None:
        """Counts the samples of the next piece, and the gaps in it and before it.

        Args:
          time: int64 [N], microseconds.
          rate_hz: nominal samples a second.
        """
        if not len(time):
            return
        step, limit = np.diff(time), int(GAP_STEPS * 1e6 / rate_hz)  # whole numbers: a third of the time
        before = 0 if self.last_us is None else int(time[0]) - self.last_us
        gap = np.append(before if before > limit else [], step[step > limit]) / 1e6
        self.gaps += len(gap)
        self.missing_s += float(gap.sum()) - len(gap) / rate_hz
        self.longest_gap_s = max(self.longest_gap_s, *gap.tolist(), 0.0)
        self.samples += len(time)
        self.first_us = int(time[0]) if self.first_us is None else self.first_us
        self.last_us = int(time[-1])

    def check(self, path: Path, rate_hz: float) -> None:
        """Raises ValueError unless there is a second of samples at the nominal rate."""
        if self.samples < rate_hz:
            raise ValueError(
                f"{path}: holds {self.samples} samples that can be used, expected at least a second of them"
            )

    @property
    def effective_rate_hz(self) -> float:
        """Samples a second between gaps; 0 of fewer than two samples."""
        if self.samples < 2:
            return 0.0
        return (self.samples - 1) / max((self.last_us - self.first_us) / 1e6 - self.missing_s, 1e-6)

    def to_json(self) -> dict:
        """All of it, in plain numbers."""
        return dataclasses.asdict(self) | {"effective_rate_hz": round(self.effective_rate_hz, 4)}


@dataclasses.dataclass(frozen=True)
class RawFile:
    """A sensor's file whose header has been read.

    Attributes:
      path: the file.
      device: kind and number, such as "AX3 51888".
      rate_hz: nominal samples a second.
      range_g: the device's range; samples at it are clipped. None if unknown.
      facts: what else the header says, for people.
      read: yields the pieces and fills the report; each call reads the file anew.
    """

    path: Path
    device: str
    rate_hz: float
    range_g: float | None
    facts: Mapping[str, str | int | float | None]
    read: Callable[[Report], Iterator[Piece]]
