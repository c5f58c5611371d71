"""What the methods of the tables share of a labelled data set: recordings, folds, windows and the network's shape."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from data_pipelines import moments
from data_pipelines.contract import channels_of
from data_pipelines.labelled import load_set
from launch.config_file import load_config
from launch.methods import build
from launch.run_folder import digest
from launch.trained import Trained, probed_encoder
from selfpab_jax.evaluate import cross_validation, windows
from selfpab_jax.evaluate.compare import Encoder
from selfpab_jax.evaluate.few_labels import BLOCK_S
from selfpab_jax.models.functional import split
from selfpab_jax.signals.stft import CHANNELS, N_BINS
from selfpab_jax.signals.tokens import Tokens


class TableSet:
    """A labelled data set under the protocol of a config.

    Args:
      settings: the config of `selfpab tables`, and `encoder`: run folders by data set.
      name: such as "harth".
    """

    def __init__(self, settings: Mapping, name: str):
        self.name, self._settings = name, settings
        self.recordings = load_set(name, Path(settings["data"]))
        self.subjects = sorted({recording.subject for recording in self.recordings})
        k = settings["folds"][name]
        loso, k_fold = cross_validation.leave_one_subject_out, cross_validation.group_k_fold
        self.folds = k_fold(self.subjects, k) if k else loso(self.subjects)
        self.encoder_folder = settings["encoder"].get(name, "")

    @cached_property
    def hash(self) -> str:
        """Of all that is trained on and scored."""
        return digest([(r.counts, r.label, np.float64(r.scale_g)) for r in self.recordings])

    @cached_property
    def five_seconds(self) -> windows.ProbeWindows:
        """Windows of 5 s, one after the other, each a token of its own."""
        size = BLOCK_S * self.recordings[0].rate_hz
        tokens = Tokens(self.recordings[0].rate_hz, size, size)
        return windows.cut(self.recordings, tokens, length=1, stride=1, validation=self._settings["validation"])

    @cached_property
    def frames(self) -> windows.ProbeWindows:
        """Windows of spectrogram frames."""
        length = self._settings["window_tokens"]
        how = {"length": length, "stride": self._settings["stride_tokens"] or (length + 1) // 2}
        recordings = [_on_all_channels(recording) for recording in self.recordings]
        return windows.cut(recordings, self._encoder[1].tokens, **how, validation=self._settings["validation"])

    @property
    def encoder(self) -> Encoder:
        """That of the run folder, or one of the config's shape and the data set's own statistics, untrained."""
        return self._encoder[0]

    @cached_property
    def _encoder(self) -> tuple:
        sensors = tuple(dict.fromkeys(channel.rpartition("_")[0] for channel in self.recordings[0].channels))
        if self.encoder_folder:
            run = probed_encoder({"encoder": self.encoder_folder, "which": self._settings["which"]})
            self._check(run[1], sensors)
            return run[0], run[1].method
        config = json.loads(load_config(self._settings["network"]).to_json())
        if config.get("objective") != "selfpab":
            raise ValueError(f"--config.network: {self._settings['network']} is no config of objective selfpab")
        features = N_BINS * len(channels_of(sensors))
        config["sensors"] = sensors
        config["model"] |= {"in_features": features, "out_features": features}
        parts = [moments.of_stretch(r.counts[:, s], r.scale_g) for r in self.recordings for s in _long(r.segments)]
        statistics = moments.statistics(moments.merge(parts))
        method = build(config, statistics)
        merge = split(method.model).merge

        def encode(params, acceleration, valid, key):
            return method.encode(merge(params, {}), acceleration, valid, key)

        def random(seed):
            return split(build(config | {"seed": 1_000 + seed}, statistics).model).params

        return Encoder(encode, None, random, lambda acceleration, valid: method.inputs(acceleration)), method

    def _check(self, run: Trained, sensors: Sequence[str]) -> None:
        """Raises ValueError for an encoder of a method or of sensors that do not fit the recordings."""
        reads = tuple(run.config.get("sensors", ()))
        if run.config["objective"] != "selfpab" or not set(reads) <= set(sensors):
            raise ValueError(
                f"--encoder {self.encoder_folder}: objective {run.config['objective']}, sensors {', '.join(reads)}; "
                f"{self.name} needs an encoder of objective selfpab that reads {' or '.join(sensors)}, as "
                "`selfpab pretrain --config.sensors` makes them"
            )


def _long(segments: Sequence[slice]) -> list[slice]:
    return [segment for segment in segments if segment.stop - segment.start >= moments.N_FFT]


def _on_all_channels(recording):
    """The recording with the channels that networks are fed with; zeros for a sensor that it lacks."""
    if tuple(recording.channels) == CHANNELS:
        return recording
    counts = np.zeros((len(CHANNELS), recording.counts.shape[1]), np.int16)
    counts[[CHANNELS.index(name) for name in recording.channels]] = recording.counts
    return dataclasses.replace(recording, counts=counts, channels=CHANNELS)
