"""From overlapping windows of frames to one class per 50 Hz sample, and from sample labels to frame labels.

A segment of S samples has T = (S - 50) // 25 + 1 frames of 1 s, each sharing half its samples with the next.
The network sees windows of (usually 599) frames. On the way back the order is the published one: average the
windows that cover a frame, then the two frames that cover a sample, then argmax.
"""

import numpy as np

from selfpab_jax.signals.stft import HOP, N_FFT, n_frames

UNLABELLED = -1


def window_starts(frames: int, window: int, stride: int) -> np.ndarray:
    """First frames of the windows that together cover every frame, int64 [W], ascending.

    One window every `stride` frames, and a last one flush with the end. Up to `window` frames need a single
    window at 0, padded if shorter (see `cut_windows`); no frames need none.

    Raises:
      ValueError: a stride that is not positive or leaves frames uncovered between windows.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"the stride is {stride} frames, expected 1 to {window} so that no frame is left out")
    if frames <= 0:
        return np.zeros(0, np.int64)
    last = max(0, frames - window)
    return np.append(np.arange(0, last, stride, dtype=np.int64), last)


def cut_windows(frames, starts, window: int, fill=0) -> tuple[np.ndarray, np.ndarray]:
    """Windows [W, window, ...] of per-frame values, and which of their frames are real, bool [W, window].

    Frames beyond the end hold `fill` and are marked False; the mask must reach attention, loss and metrics.

    Args:
      frames: [T, ...], features or labels, T >= 1.
      starts: first frames [W], each in 0..T-1.

    Raises:
      ValueError: no frame to cut from, or a start outside.
    """
    frames, starts = np.asarray(frames), np.asarray(starts)
    if len(starts) and not (0 <= starts.min() and starts.max() < len(frames)):
        raise ValueError(
            f"windows start at frames {starts.min()}..{starts.max()}, the segment has {len(frames)} frames"
        )
    index = starts[:, None] + np.arange(window)  # [W, window]
    valid = index < len(frames)
    windows = frames[np.minimum(index, len(frames) - 1)]  # [W, window, ...]
    windows[~valid] = fill
    return windows, valid


def average_windows(probabilities, starts, valid, frames: int) -> np.ndarray:
    """Mean over all windows that cover a frame, float64 [frames, K].

    Args:
      probabilities: [W, T, K]; whatever stands in padded frames (NaN included) is ignored.
      starts: first frames [W].
      valid: bool [W, T], False for padded frames.
      frames: length of the segment in frames.

    Raises:
      ValueError: shapes that do not fit together, a real frame outside the segment, a frame no window covers.
    """
    probabilities, starts, valid = np.asarray(probabilities), np.asarray(starts), np.asarray(valid, bool)
    if probabilities.ndim != 3 or valid.shape != probabilities.shape[:2] or starts.shape != valid.shape[:1]:
        raise ValueError(
            "stitching needs probabilities [W, T, K], starts [W] and valid [W, T], got shapes "
            f"{probabilities.shape}, {starts.shape} and {valid.shape}"
        )
    total = np.zeros((frames, probabilities.shape[2]))
    count = np.zeros((frames, 1))
    for window, start, real in zip(probabilities, starts, valid, strict=True):
        positions = start + np.flatnonzero(real)
        if positions.size and not (0 <= positions[0] and positions[-1] < frames):
            raise ValueError(f"a window marks frames {positions[0]}..{positions[-1]} as real, the segment has {frames}")
        total[positions] += window[real]  # positions are distinct inside a window, so += adds each once
        count[positions] += 1
    if not count.all():
        missing = int(np.flatnonzero(count[:, 0] == 0)[0])
        raise ValueError(f"frame {missing} of {frames} is covered by no window; use window_starts")
    return total / count


def half_second_distributions(distribution) -> np.ndarray:
    """Mean distribution of the frames covering each half second, float64 [T + 1, K]; the outer two have one.

    Frame t spans half seconds t and t + 1, so samples 25 h .. 25 h + 24 are covered by frames h - 1 and h.

    Args:
      distribution: [T, K], T >= 1.
    """
    distribution = np.asarray(distribution, np.float64)
    padded = np.concatenate([distribution[:1], distribution, distribution[-1:]])  # [T + 2, K]
    return (padded[:-1] + padded[1:]) / 2


def sample_classes(distribution, samples: int) -> np.ndarray:
    """The most probable class of each 50 Hz sample, int64 [samples]; ties go to the lowest class index.

    Up to 24 samples at the end belong to no whole frame; they take the class of the last half second.

    Args:
      distribution: [T, K], one per frame, T = n_frames(samples).

    Raises:
      ValueError: a number of frames that does not belong to that many samples, or a segment of less than 1 s.
    """
    expected = n_frames(samples)
    if len(distribution) != expected or expected == 0:
        raise ValueError(
            f"{samples} samples have {expected} frames, got {len(distribution)}; "
            f"a segment needs at least {N_FFT} samples"
        )
    classes = half_second_distributions(distribution).argmax(axis=1)  # [T + 1]
    by_sample = classes.repeat(HOP)  # [(T + 1) * 25]
    return np.pad(by_sample, (0, samples - len(by_sample)), mode="edge")


def stitch(probabilities, starts, valid, samples: int) -> np.ndarray:
    """One class per 50 Hz sample, int64 [samples]: windows averaged, then overlapping frames, then argmax.

    Args:
      probabilities: [W, T, K], what the classifier says about each frame of each window (softmax outputs).
      starts: first frames [W], from `window_starts(n_frames(samples), ...)`.
      valid: bool [W, T], False for padded frames.
      samples: length of the segment in samples.

    Raises:
      ValueError: see `average_windows` and `sample_classes`.

    Source: SelfPAB's downstream code; the paper mentions only the overlap of the 1 s frames.
    """
    return sample_classes(average_windows(probabilities, starts, valid, n_frames(samples)), samples)


def frame_labels(label) -> np.ndarray:
    """Majority label of each frame's 50 samples, int64 [T]; ties go to the lowest class index.

    Unlabelled samples (-1) have no vote; a frame of nothing else is -1.

    Args:
      label: class indices [S] of one segment, -1 where unlabelled; T = n_frames(S), 0 below 1 s.

    Raises:
      ValueError: a negative label other than -1.
    """
    label = np.asarray(label)
    frames = n_frames(len(label))
    if frames == 0:
        return np.zeros(0, np.int64)
    used = label[: (frames + 1) * HOP].astype(np.int64) + 1  # 0 = unlabelled
    if used.min() < 0:
        raise ValueError(f"labels are class indices from 0, or -1 for unlabelled, got {used.min() - 1}")
    columns = int(used.max()) + 1
    half = np.arange(frames + 1).repeat(HOP)  # [(T + 1) * 25]
    votes = np.bincount(half * columns + used, minlength=(frames + 1) * columns)
    votes = votes.reshape(frames + 1, columns)[:, 1:]  # [T + 1, K]
    if votes.shape[1] == 0:
        return np.full(frames, UNLABELLED, np.int64)
    votes = votes[:-1] + votes[1:]  # [T, K]
    return np.where(votes.any(axis=1), votes.argmax(axis=1), UNLABELLED)
