"""How the samples of a recording become the tokens of a model."""

from typing import NamedTuple


class Tokens(NamedTuple):
    """Tokens of `size` samples, one every `hop` samples, of a signal sampled at `rate_hz`.

    Spectrogram frames overlap (size 50, hop 25 at 50 Hz); patches do not (size 300, hop 300 at 30 Hz). A token never
    reaches beyond the samples: what is left over at the end belongs to none.
    """

    rate_hz: int
    size: int
    hop: int

    def count(self, samples: int) -> int:
        """Number of whole tokens in `samples` samples."""
        return max(0, (samples - self.size) // self.hop + 1)

    def samples(self, count: int) -> int:
        """Number of samples under `count` neighbouring tokens; 0 for none."""
        return (count - 1) * self.hop + self.size if count else 0
