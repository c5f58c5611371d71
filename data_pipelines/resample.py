"""Some of a recording's sensors, and the recording at another sampling rate."""

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from data_pipelines.contract import Recording, channels_of
from data_pipelines.windows import segments

# SciPy's filter (10 and 5.0) leaves a ripple of 0.2 %; this one leaves 0.01 % with as narrow a transition, which
# takes a sixth of the lower rate.
HALF_WIDTH = 16  # in samples of the lower rate
KAISER_BETA = 8.0
FADE_S = 4.0  # how far at least the end of a stretch lies from its beginning on the circle of the Fourier transform

Method = Callable[[np.ndarray], np.ndarray]  # one channel of a stretch [S] -> [ceil(S * up / down)] or longer


def select_sensors(recording: Recording, sensors: Sequence[str]) -> Recording:
    """The recording with the channels of these sensors only, in this order; itself if nothing changes.

    Args:
      recording: acceleration [S, C] in g with named channels.
      sensors: places such as "thigh"; see `data_pipelines.contract.PLACES`.

    Raises:
      ValueError: the recording lacks one of the sensors.
    """
    wanted = channels_of(sensors)
    if wanted == tuple(recording.channels):
        return recording
    missing = [sensor for sensor in sensors if not set(channels_of([sensor])) <= set(recording.channels)]
    if missing:
        held = dict.fromkeys(channel.rpartition("_")[0] for channel in recording.channels)
        raise ValueError(
            f"{recording.name}: holds no {' or '.join(missing)} sensor, only {', '.join(held)}: take a recording that "
            "has it, or prepare with --sensors among these"
        )
    columns = [recording.channels.index(channel) for channel in wanted]
    # np.take, because indexing with a list yields columns that are contiguous in memory instead of rows.
    return dataclasses.replace(recording, acceleration=np.take(recording.acceleration, columns, 1), channels=wanted)


def resample(recording: Recording, rate_hz: int, max_gap_s: float) -> Recording:
    """The recording at `rate_hz`; itself if that is its rate.

    Each stretch between long gaps is low-pass filtered at half the lower of the two rates and resampled on its
    own, with its first and last values held beyond its ends. Time is interpolated, labels are those of the
    nearest sample.

    Args:
      recording: acceleration [S, C] in g, time in microseconds; steps shorter than a gap are taken as regular.
      rate_hz: samples a second that come out.
      max_gap_s: the longest step in time, in seconds, that is joined.

    Raises:
      ValueError: a rate below 1 Hz.
    """
    return _by_stretch(recording, rate_hz, max_gap_s, _polyphase)


def fourier_resample(recording: Recording, rate_hz: int, max_gap_s: float) -> Recording:
    """The recording at `rate_hz` by the Fourier method; itself if that is its rate.

    As `resample` in all but the filter: the spectrum of a stretch is cut off, or filled up with zeros, at half the
    lower rate. The transform sees the stretch as a circle, so its end is led over to its beginning: reflections at
    both ends, the one faded into the other, up to a length whose transform is fast.

    Raises:
      ValueError: a rate below 1 Hz.
    Source: the SelfPAB paper, which brings its data sets to 50 Hz with SciPy's `resample`.
    """
    return _by_stretch(recording, rate_hz, max_gap_s, _fourier)


def _by_stretch(
    recording: Recording, rate_hz: int, max_gap_s: float, method: Callable[[int, int, float], Method]
) -> Recording:
    """The recording with `method(up, down, old rate)` applied to each channel of each stretch between long gaps."""
    if rate_hz < 1:
        raise ValueError(f"{recording.name}: rate is {rate_hz} Hz, expected at least 1: choose another --rate")
    if rate_hz == recording.rate_hz:
        return recording
    ratio = Fraction(rate_hz / recording.rate_hz).limit_denominator(1000)
    up, down = ratio.numerator, ratio.denominator
    resampled = method(up, down, recording.rate_hz)
    stretches = segments(recording.time, max_gap_s)
    lengths = [-(-(stretch.stop - stretch.start) * up // down) for stretch in stretches]
    ends = np.cumsum([0, *lengths])
    acceleration = np.empty((ends[-1], len(recording.channels)), np.float32)
    time = np.empty(ends[-1], np.int64)
    label = None if recording.label is None else np.empty(ends[-1], recording.label.dtype)
    for stretch, begin, end in zip(stretches, ends[:-1], ends[1:], strict=True):
        # One channel at a time: the filter's copies are then a third of the stretch or less.
        for channel in range(acceleration.shape[1]):
            signal = np.ascontiguousarray(recording.acceleration[stretch, channel], np.float32)
            acceleration[begin:end, channel] = resampled(signal)[: end - begin]
        time[begin:end] = _times(recording.time[stretch], up, down, 1e6 / recording.rate_hz)
        if label is not None:
            nearest = (np.arange(end - begin) * (2 * down) + up) // (2 * up)
            label[begin:end] = recording.label[stretch][np.minimum(nearest, stretch.stop - stretch.start - 1)]
    if (np.diff(time) <= 0).any():  # steps of a few microseconds, rounded
        count = np.arange(len(time))
        time = np.maximum.accumulate(time - count) + count
    return dataclasses.replace(recording, acceleration=acceleration, time=time, label=label, rate_hz=rate_hz)


# SciPy is imported late: it takes half a second, and most data keep their rate.


def _polyphase(up: int, down: int, rate_hz: float) -> Method:
    from scipy.signal import resample_poly

    taps = _low_pass(up, down)
    return lambda signal: resample_poly(signal, up, down, window=taps, padtype="edge")


def _fourier(up: int, down: int, rate_hz: float) -> Method:
    from scipy.fft import next_fast_len
    from scipy.signal import resample as scipy_resample

    def resampled(signal: np.ndarray) -> np.ndarray:
        # A multiple of `down`, so that what comes out lies exactly `down / up` samples apart.
        blocks = next_fast_len(-(-(len(signal) + round(FADE_S * rate_hz)) // down), real=True)
        fade = blocks * down - len(signal)
        after = np.pad(signal, (0, fade), "symmetric")[len(signal) :]
        before = np.pad(signal, (fade, 0), "symmetric")[:fade]
        weight = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
        circle = np.concatenate([signal, after + weight * (before - after)])  # [blocks * down]
        return scipy_resample(circle, blocks * up)

    return resampled


def _low_pass(up: int, down: int) -> np.ndarray:
    """The filter for `resample_poly`, float32, with the same sum for each of its `up` phases.

    Without that a constant 1 g comes out with a ripple, as the phases weigh it differently.
    """
    from scipy.signal import firwin

    longest = max(up, down)
    taps = firwin(2 * HALF_WIDTH * longest + 1, 1 / longest, window=("kaiser", KAISER_BETA))
    for phase in range(up):
        taps[phase::up] /= up * taps[phase::up].sum()
    return taps.astype(np.float32)


def _times(time: np.ndarray, up: int, down: int, step_us: float) -> np.ndarray:
    """int64 microseconds at the input's fractional indices 0, down / up, 2 down / up, ... of a stretch."""
    at, part = np.divmod(np.arange(-(-len(time) * up // down)) * down, up)
    step = np.diff(time, append=time[-1] + round(step_us))
    return time[at] + step[at] * part // up
