"""Training on few labels: so many seconds of each activity, the same ones for every method."""

from collections.abc import Sequence

import numpy as np

from selfpab_jax.evaluate.stitch import UNLABELLED, cut_windows, token_labels
from selfpab_jax.evaluate.windows import ProbeWindows
from selfpab_jax.signals.tokens import Tokens

BLOCK_S = 5  # the windows that the hand-crafted features are made of


def draw(windows: ProbeWindows, subjects: Sequence[str], seconds: float, *seed: int) -> np.ndarray:
    """Labels of tokens to train on, int32 [W, T]: -1 but in the drawn blocks of 5 s.

    For each activity blocks of which it is the majority label are drawn from all these subjects, as many as make up
    `seconds`, or all there are. Tokens inside one block keep their own label. Blocks are counted from the start of each
    segment and drawn by the seed numbers alone, so that windows of other tokens on the same recordings give the same.

    Args:
      seconds: of each activity, a multiple of 5.

    Raises:
      ValueError: another number of seconds.
    """
    if seconds <= 0 or seconds % BLOCK_S:
        raise ValueError(f"{seconds:g} s of each activity are asked for, expected a multiple of {BLOCK_S} s")
    tokens, size = windows.tokens, BLOCK_S * windows.tokens.rate_hz
    wanted, blocks = round(seconds / BLOCK_S), Tokens(tokens.rate_hz, size, size)
    found = [
        (number, block, int(label))
        for number, segment in enumerate(windows.segments)
        if segment.subject in subjects
        for block, label in enumerate(token_labels(segment.truth, blocks))
    ]
    chosen: dict[int, list[int]] = {}
    for activity in range(len(windows.codes)):
        its = [(number, block) for number, block, label in found if label == activity]
        # A stream for each activity: what is drawn of one does not depend on what there is of another.
        order = np.random.default_rng([*seed, activity]).permutation(len(its))[:wanted]
        for number, block in (its[i] for i in order):
            chosen.setdefault(number, []).append(block)
    label = np.full(windows.label.shape, UNLABELLED, np.int32)
    for number, its_blocks in chosen.items():
        segment = windows.segments[number]
        start = tokens.hop * np.arange(tokens.count(len(segment.truth)))  # of each token
        inside = np.isin(start // size, its_blocks) & (start // size == (start + tokens.size - 1) // size)
        rows = segment.windows
        kept, _ = cut_windows(inside, windows.start[rows], windows.label.shape[1])
        label[rows] = np.where(kept & windows.valid[rows], windows.label[rows], UNLABELLED)
    return label
