"""How raw sensor files become windows."""

import dataclasses

from data_pipelines.readers.declared import Declared
from data_pipelines.shards import Cut

LAYOUT = "raw"  # what the manifest says of where the windows come from


@dataclasses.dataclass(frozen=True)
class IngestSettings:
    """What `ingest` does with each recording; windows do not overlap.

    Attributes:
      cut: sensors, rate, length of a window, longest gap to join, minutes of stillness that are non-wear.
      daytime: (first hour, hour after the last) by the sensor's own clock, outside of which nothing is kept; (0, 24)
        keeps all. (22, 6) is the night.
      calibrate: correct gain and offset by gravity where the recording allows it.
      align: correct the clock of the second sensor where movement shows its lag.
      max_joined: share of a window that may be interpolated over short gaps.
      max_clipped: share of a window that may lie at the end of a sensor's range.
      max_nonwear: share of a window that may be non-wear.
      columns: what the columns of csv and npy files are.
    """

    cut: Cut = Cut()
    daytime: tuple[int, int] = (0, 24)
    calibrate: bool = True
    align: bool = True
    max_joined: float = 0.05
    max_clipped: float = 0.01
    max_nonwear: float = 0.1
    columns: Declared | None = None

    def __post_init__(self):
        if self.cut.stride_s != self.cut.window_s:
            raise ValueError(f"stride_s is {self.cut.stride_s}, expected that of a window, {self.cut.window_s}")
        first, last = self.daytime
        if not (0 <= first < 24 and 0 < last <= 24 and first != last):
            raise ValueError(f"daytime is {first}-{last}, expected two different hours from 0 to 24, such as 7-22")
        for name in ("max_joined", "max_clipped", "max_nonwear"):
            if not 0 <= vars(self)[name] <= 1:
                raise ValueError(f"{name} is {vars(self)[name]}, expected a share from 0 to 1")

    def recorded(self) -> dict:
        """The settings as manifest and sidecars hold them."""
        plain = dataclasses.asdict(self) | {"daytime": list(self.daytime)}
        del plain["cut"]
        return {"layout": LAYOUT, **self.cut.recorded(), **plain}
