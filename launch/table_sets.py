"""What the methods of the tables share of a labelled data set: recordings, folds and windows."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data_pipelines.labelled import load_set
from launch import table_encoders
from launch.run_folder import digest
from launch.trained import probed_encoder
from selfpab_jax.evaluate import cross_validation, windows
from selfpab_jax.evaluate.compare import Encoder
from selfpab_jax.evaluate.few_labels import BLOCK_S
from selfpab_jax.signals.stft import CHANNELS, FRAMES, SAMPLE_RATE_HZ
from selfpab_jax.signals.tokens import Tokens

FIVE_S = BLOCK_S * SAMPLE_RATE_HZ


class TableSet:
    """A labelled data set under the protocol of a config.

    Args:
      settings: the config of `selfpab tables`, and `encoder`: run folders by data set.
      name: such as "harth".
    """

    def __init__(self, settings: Mapping, name: str):
        self.name, self._settings = name, settings
        found = load_set(name, Path(settings["data"]))
        self.sensors = tuple(dict.fromkeys(channel.rpartition("_")[0] for channel in found[0].channels))
        if found[0].rate_hz != SAMPLE_RATE_HZ or not set(found[0].channels) <= set(CHANNELS):
            raise ValueError(
                f"--data: {name} holds {', '.join(self.sensors)} at {found[0].rate_hz} Hz, the methods read back and "
                f"thigh at {SAMPLE_RATE_HZ} Hz: prepare it with --rate and --sensors, or put the published files there"
            )
        # All methods are scored on the same samples: what has no room for a window of 5 s is left out.
        self.recordings = [dataclasses.replace(r, segments=_at_least_5_s(r.segments)) for r in found]
        self.subjects = sorted({recording.subject for recording in self.recordings})
        k = settings["folds"][name]
        loso, k_fold = cross_validation.leave_one_subject_out, cross_validation.group_k_fold
        self.folds = k_fold(self.subjects, k) if k else loso(self.subjects)
        self.encoder_folder = settings["encoder"].get(name, "")
        self.seen = []  # people whom the encoder knows
        if self.encoder_folder:
            self.seen = table_encoders.check(Path(self.encoder_folder), name, self.sensors, self.subjects)

    @cached_property
    def hash(self) -> str:
        """Of all that is trained on and scored."""
        return digest(
            [(r.counts, r.label, r.scale_g, [(s.start, s.stop) for s in r.segments]) for r in self.recordings]
        )

    @cached_property
    def five_seconds(self) -> windows.ProbeWindows:
        """Windows of 5 s, one after the other, each a token of its own."""
        return self._cut(self.recordings, Tokens(SAMPLE_RATE_HZ, FIVE_S, FIVE_S), 1, 1)

    @cached_property
    def frames(self) -> windows.ProbeWindows:
        """Windows of spectrogram frames."""
        length = self._settings["window_tokens"]
        recordings = [_on_all_channels(recording) for recording in self.recordings]
        return self._cut(recordings, FRAMES, length, self._settings["stride_tokens"] or (length + 1) // 2)

    def _cut(self, recordings: Sequence, tokens: Tokens, length: int, stride: int) -> windows.ProbeWindows:
        scripted = self.name in self._settings["scripted"]
        held = {"validation": self._settings["validation"], "of_each_activity": scripted}
        return windows.cut(recordings, tokens, length=length, stride=stride, **held)

    @cached_property
    def encoder(self) -> Encoder:
        """That of the run folder, or one of the config's shape and the data set's own statistics, untrained."""
        if self.encoder_folder:
            return probed_encoder({"encoder": self.encoder_folder, "which": self._settings["which"]})[0]
        return table_encoders.untrained(self._settings["network"], self.recordings, self.sensors)


def _at_least_5_s(segments: Sequence[slice]) -> tuple[slice, ...]:
    return tuple(segment for segment in segments if segment.stop - segment.start >= FIVE_S)


def _on_all_channels(recording):
    """The recording with the channels that networks are fed with; zeros for a sensor that it lacks."""
    if tuple(recording.channels) == CHANNELS:
        return recording
    counts = np.zeros((len(CHANNELS), recording.counts.shape[1]), np.int16)
    counts[[CHANNELS.index(name) for name in recording.channels]] = recording.counts
    return dataclasses.replace(recording, counts=counts, channels=CHANNELS)
