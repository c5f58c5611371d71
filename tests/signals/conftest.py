"""What the tests of masking compare with: a slow transcription of the original reading, and telling input."""

import numpy as np
import pytest

from selfpab_jax.signals.stft import N_BINS, N_FRAMES

ZEROED = -1  # instead of the frame that a frame's values come from


@pytest.fixture(scope="session")
def reference_original():
    """(kind, source starts, target starts, frames) -> (source frame or ZEROED, flagged) of each frame, by loops."""

    def run(kind, source_starts, target_starts, frames=N_FRAMES):
        source, flagged = list(range(frames)), [False] * frames
        if kind < 0.8:
            for start in target_starts:
                for t in range(start, start + 3):
                    source[t], flagged[t] = ZEROED, True
        elif kind < 0.9:
            for read, write in zip(source_starts, target_starts, strict=True):  # a later span overwrites an earlier one
                for shift in range(3):
                    source[write + shift], flagged[write + shift] = read + shift, True
        return source, flagged

    return run


@pytest.fixture(scope="session")
def distinct():
    """(frames, channels) -> a spectrogram in which every cell differs and none is 0."""

    def spectrogram(frames=12, channels=1):
        return 1 + np.arange(frames * channels * N_BINS, dtype=np.float32).reshape(frames, -1)

    return spectrogram
