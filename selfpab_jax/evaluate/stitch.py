"""From overlapping windows of tokens to one class per sample, and from sample labels to token labels.

Tokens are spectrogram frames (1 s, each sharing half its samples with the next) or patches (10 s, end to end). The
network sees windows of them. On the way back the order is the published one: average the windows that cover a token,
then the tokens that cover a sample, then argmax.
"""

import numpy as np

from selfpab_jax.signals.stft import FRAMES
from selfpab_jax.signals.tokens import Tokens

UNLABELLED = -1


def window_starts(frames: int, window: int, stride: int) -> np.ndarray:
    """First frames of the windows that together cover every frame, int64 [W], ascending.

    One window every `stride` frames, and a last one flush with the end. Up to `window` frames need a single
    window at 0, padded if shorter (see `cut_windows`); no frames need none.

    Raises:
      ValueError: a stride that is not positive or leaves frames uncovered between windows.
    """
    if not 1 <= stride <= window:
        raise ValueError(f"the stride is {stride} tokens, expected 1 to {window} so that no token is left out")
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


def hop_distributions(distribution, tokens: Tokens = FRAMES) -> np.ndarray:
    """Mean distribution of the tokens covering each hop, float64 [T + size / hop - 1, K].

    Frame t of 1 s spans the half seconds t and t + 1, so half second h is covered by the frames h - 1 and h.

    Args:
      distribution: [T, K], T >= 1.
      tokens: their size is a multiple of their hop.
    """
    distribution = np.asarray(distribution, np.float64)
    overlap, count = tokens.size // tokens.hop, len(distribution)
    total = np.zeros((count + overlap - 1, distribution.shape[1]))
    covering = np.zeros((len(total), 1))
    for shift in range(overlap):
        total[shift : shift + count] += distribution
        covering[shift : shift + count] += 1
    return total / covering


def sample_classes(distribution, samples: int, tokens: Tokens = FRAMES) -> np.ndarray:
    """The most probable class of each sample, int64 [samples]: overlapping tokens averaged, then argmax.

    Ties go to the lowest class index.

    Samples at the end that belong to no whole token take the class of the last hop.

    Args:
      distribution: [T, K], one per token, T = tokens.count(samples).

    Raises:
      ValueError: a number of tokens that does not belong to that many samples, or a segment shorter than a token.

    Source: SelfPAB's downstream code; the paper mentions only the overlap of the 1 s frames.
    """
    expected = tokens.count(samples)
    if len(distribution) != expected or expected == 0:
        raise ValueError(
            f"{samples} samples have {expected} tokens, got {len(distribution)}; "
            f"a segment needs at least {tokens.size} samples"
        )
    return unfold(hop_distributions(distribution, tokens).argmax(axis=1), samples, tokens)


def unfold(classes: np.ndarray, samples: int, tokens: Tokens = FRAMES) -> np.ndarray:
    """One class per sample [samples] of one class per hop; samples beyond the last hop take its class."""
    by_sample = classes.repeat(tokens.hop)
    return np.pad(by_sample, (0, samples - len(by_sample)), mode="edge")


def token_labels(label, tokens: Tokens = FRAMES, min_majority: float = 0.0) -> np.ndarray:
    """Majority label of each token's samples, int64 [T]; ties go to the lowest class index.

    Unlabelled samples (-1) have no vote; a token of nothing else is -1.

    Args:
      label: class indices [S] of one segment, -1 where unlabelled; T = tokens.count(S).
      min_majority: tokens are -1 too if their majority holds less than this share of all their samples.

    Raises:
      ValueError: a negative label other than -1.
    """
    label = np.asarray(label)
    count, overlap = tokens.count(len(label)), tokens.size // tokens.hop
    if count == 0:
        return np.zeros(0, np.int64)
    hops = count + overlap - 1
    used = label[: hops * tokens.hop].astype(np.int64) + 1  # 0 = unlabelled
    if used.min() < 0:
        raise ValueError(f"labels are class indices from 0, or -1 for unlabelled, got {used.min() - 1}")
    columns = int(used.max()) + 1
    hop = np.arange(hops).repeat(tokens.hop)
    votes = np.bincount(hop * columns + used, minlength=hops * columns)
    votes = votes.reshape(hops, columns)[:, 1:]  # [T + overlap - 1, K]
    if votes.shape[1] == 0:
        return np.full(count, UNLABELLED, np.int64)
    votes = sum(votes[shift : shift + count] for shift in range(overlap))  # [T, K]
    clear = votes.any(axis=1) & (votes.max(axis=1) >= min_majority * tokens.size)
    return np.where(clear, votes.argmax(axis=1), UNLABELLED)
