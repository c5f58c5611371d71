"""Labelled recordings cut into the windows that probing trains on and predicts."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from selfpab_jax.evaluate.cross_validation import first_fraction_validation
from selfpab_jax.evaluate.stitch import UNLABELLED, cut_windows, frame_labels, window_starts
from selfpab_jax.signals.stft import CHANNELS, HOP, N_FFT, n_frames


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch without long gaps: whose it is, the class index of each sample, its windows' numbers."""

    subject: str
    truth: np.ndarray  # int64 [S], -1 where unlabelled
    windows: slice


@dataclasses.dataclass(frozen=True)
class ProbeWindows:
    """All windows of a labelled data set; a window that reaches beyond its segment is padded.

    Attributes:
      counts: int16 [W, C, S_window], zeros where padded; g = counts * scale.
      scale: float32 [W].
      label: int32 [W, T], class index of each frame by majority, -1 where unlabelled or padding.
      valid: bool [W, T], False for padding.
      held_out: bool [W, T], the first share of each subject's frames, for validation.
      start: int64 [W], first frame inside the segment.
      subject: [W], names.
      segments: in the order of the windows.
      codes, names: the K classes, as the data set's codes and as words.
    """

    counts: np.ndarray
    scale: np.ndarray
    label: np.ndarray
    valid: np.ndarray
    held_out: np.ndarray
    start: np.ndarray
    subject: np.ndarray
    segments: tuple[Segment, ...]
    codes: tuple[int, ...]
    names: tuple[str, ...]

    def of(self, subjects: Sequence[str]) -> np.ndarray:
        """Numbers of the windows of these subjects, int64."""
        return np.flatnonzero(np.isin(self.subject, list(subjects)))


def cut(recordings: Sequence, *, frames: int, stride: int, validation: float) -> ProbeWindows:
    """The windows of labelled recordings.

    Args:
      recordings: of type `data_pipelines.contract.Labelled`.
      frames: window length T in frames; 599 are 5 minutes.
      stride: frames between windows.
      validation: share of each subject's frames, from the start of the recording, that is held out.

    Stretches of less than 1 s have no frame; their samples are neither trained on nor scored.

    Raises:
      ValueError: no labelled sample, fewer than two activities, or a bad stride or share.
    """
    codes = sorted({int(code) for r in recordings for code in np.unique(r.label) if code != UNLABELLED})
    if len(codes) < 2:
        raise ValueError(f"the labelled data hold the activities {codes}, expected at least two different ones")
    index_of = np.full(max(codes) + 2, UNLABELLED)  # the extra place at the end is where code -1 points
    index_of[codes] = np.arange(len(codes))
    by_subject: dict[str, list] = {}
    for recording in recordings:
        stretches = [(recording, s) for s in recording.segments if n_frames(s.stop - s.start)]
        by_subject.setdefault(recording.subject, []).extend(stretches)
    columns: dict[str, list] = {k: [] for k in ("counts", "scale", "label", "valid", "held_out", "start", "subject")}
    segments, total = [], 0
    for subject, stretches in sorted(by_subject.items()):
        shares = first_fraction_validation([n_frames(s.stop - s.start) for _, s in stretches], validation)
        for (recording, piece), share in zip(stretches, shares, strict=True):
            truth = index_of[recording.label[piece]]
            label = frame_labels(truth)
            held = np.zeros(len(label), bool)
            held[share.validation] = True
            starts = window_starts(len(label), frames, stride)
            windows, valid = cut_windows(np.stack([label, held], axis=1), starts, frames)  # [W, T, 2]
            columns["label"].append(np.where(valid, windows[..., 0], UNLABELLED))
            columns["held_out"].append(windows[..., 1].astype(bool) & valid)
            columns["valid"].append(valid)
            columns["counts"].append(window_samples(recording.counts[:, piece], starts, frames))
            columns["scale"].append(np.full(len(starts), recording.scale_g, np.float32))
            columns["start"].append(starts)
            columns["subject"].append(np.full(len(starts), subject))
            segments.append(Segment(subject, truth, slice(total, total + len(starts))))
            total += len(starts)
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    joined["label"] = joined["label"].astype(np.int32)
    names = tuple(recordings[0].activities.get(code, str(code)) for code in codes)
    return ProbeWindows(**joined, segments=tuple(segments), codes=tuple(codes), names=names)


def window_samples(counts: np.ndarray, starts: np.ndarray, frames: int) -> np.ndarray:
    """The samples [W, C, S_window] under windows that start at these frames; zeros beyond the end."""
    length = (frames - 1) * HOP + N_FFT
    out = np.zeros((len(starts), len(CHANNELS), length), np.int16)
    for row, start in zip(out, starts * HOP, strict=True):
        piece = counts[:, start : start + length]
        row[:, : piece.shape[1]] = piece
    return out
