"""Labelled recordings cut into the windows that probing trains on and predicts."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from selfpab_jax.evaluate.cross_validation import first_fraction_validation
from selfpab_jax.evaluate.stitch import UNLABELLED, cut_windows, token_labels, window_starts
from selfpab_jax.signals.tokens import Tokens


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
      label: int32 [W, T], class index of each token by majority, to train on; -1 where unlabelled, too mixed, padding.
      valid: bool [W, T], False for padding.
      held_out: bool [W, T], the first share of each subject's tokens, for validation.
      start: int64 [W], first token inside the segment.
      subject: [W], names.
      segments: in the order of the windows.
      tokens: what the T tokens are.
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
    tokens: Tokens
    codes: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def hours(self) -> float:
        """Length of all segments."""
        return sum(len(segment.truth) for segment in self.segments) / self.tokens.rate_hz / 3600

    def of(self, subjects: Sequence[str]) -> np.ndarray:
        """Numbers of the windows of these subjects, int64."""
        return np.flatnonzero(np.isin(self.subject, list(subjects)))


def cut(
    recordings: Sequence,
    tokens: Tokens,
    *,
    length: int,
    stride: int,
    validation: float,
    of_each_activity: bool = False,
    min_majority: float = 0.0,
) -> ProbeWindows:
    """The windows of labelled recordings.

    A token's label is that of the majority of its labelled samples. Tokens in which it holds less than
    `min_majority` of the samples are not trained on; what is scored is not affected.

    Args:
      recordings: of type `data_pipelines.contract.Labelled`.
      tokens: how samples become tokens.
      length: of a window, T tokens; 599 frames are 5 minutes.
      stride: tokens between windows.
      validation: share of each subject's tokens, from the start of the recording, that is held out.
      of_each_activity: take that share from the start of each of a subject's activities instead. Where people do one
        activity after the other, the start of the recording would hold all there is of the first ones.

    Stretches shorter than a token have none; their samples are neither trained on nor scored.

    Raises:
      ValueError: no labelled sample, fewer than two activities, or a bad stride or share.
    """
    if not 0 <= min_majority <= 1:
        raise ValueError(f"data.min_majority is {min_majority}, expected a share from 0 to 1")
    codes = sorted({int(code) for r in recordings for code in np.unique(r.label) if code != UNLABELLED})
    if len(codes) < 2:
        raise ValueError(f"the labelled data hold the activities {codes}, expected at least two different ones")
    index_of = np.full(max(codes) + 2, UNLABELLED)  # the extra place at the end is where code -1 points
    index_of[codes] = np.arange(len(codes))
    by_subject: dict[str, list] = {}
    for recording in recordings:
        stretches = [(recording, s) for s in recording.segments if tokens.count(s.stop - s.start)]
        by_subject.setdefault(recording.subject, []).extend(stretches)
    columns: dict[str, list] = {k: [] for k in ("counts", "scale", "label", "valid", "held_out", "start", "subject")}
    segments, total = [], 0
    for subject, stretches in sorted(by_subject.items()):
        truths = [index_of[recording.label[piece]] for recording, piece in stretches]
        labels = [token_labels(truth, tokens, min_majority) for truth in truths]
        its_held = _held_out(labels, validation, of_each_activity)
        for (recording, piece), truth, label, held in zip(stretches, truths, labels, its_held, strict=True):
            starts = window_starts(len(label), length, stride)
            windows, valid = cut_windows(np.stack([label, held], axis=1), starts, length)  # [W, T, 2]
            columns["label"].append(np.where(valid, windows[..., 0], UNLABELLED))
            columns["held_out"].append(windows[..., 1].astype(bool) & valid)
            columns["valid"].append(valid)
            columns["counts"].append(window_samples(recording.counts[:, piece], starts, length, tokens))
            columns["scale"].append(np.full(len(starts), recording.scale_g, np.float32))
            columns["start"].append(starts)
            columns["subject"].append(np.full(len(starts), subject))
            segments.append(Segment(subject, truth, slice(total, total + len(starts))))
            total += len(starts)
    if not segments:
        seconds = tokens.size / tokens.rate_hz
        raise ValueError(f"the labelled data hold no stretch of a token ({seconds:g} s) without a long gap")
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    joined["label"] = joined["label"].astype(np.int32)
    names = tuple(recordings[0].activities.get(code, str(code)) for code in codes)
    return ProbeWindows(**joined, segments=tuple(segments), tokens=tokens, codes=tuple(codes), names=names)


def _held_out(labels: Sequence[np.ndarray], share: float, of_each_activity: bool) -> list[np.ndarray]:
    """Which tokens of one subject's stretches are held out, bool [T] for each stretch."""
    if not of_each_activity:
        shares = first_fraction_validation([len(label) for label in labels], share)
        return [np.arange(len(label)) < one.validation.stop for label, one in zip(labels, shares, strict=True)]
    joined = np.concatenate([*labels, []])  # without stretches: nothing
    held = np.zeros(len(joined), bool)
    for activity in set(joined.tolist()) - {UNLABELLED}:
        its = np.flatnonzero(joined == activity)
        held[its[: first_fraction_validation([len(its)], share)[0].validation.stop]] = True
    return np.split(held, np.cumsum([len(label) for label in labels])[:-1])


def window_samples(counts: np.ndarray, starts: np.ndarray, length: int, tokens: Tokens) -> np.ndarray:
    """The samples [W, C, S_window] under windows of `length` tokens that start at these; zeros beyond the end."""
    samples = tokens.samples(length)
    out = np.zeros((len(starts), len(counts), samples), np.int16)
    for row, start in zip(out, starts * tokens.hop, strict=True):
        piece = counts[:, start : start + samples]
        row[:, : piece.shape[1]] = piece
    return out
