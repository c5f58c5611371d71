"""From a resolved config to the objects of the library: the one place that names every pre-training method."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from data_pipelines.order import check_order
from selfpab_jax.evaluate import figures, signal_figures
from selfpab_jax.objectives import mae, selfpab
from selfpab_jax.objectives.method import Method
from selfpab_jax.signals.stft import CHANNELS, SAMPLE_RATE_HZ


class Entry(NamedTuple):
    """How a method is built, how a row of its preview is drawn, and what recordings it reads.

    Attributes:
      build: (config, statistics) -> the method.
      picture: of (arrays, path, method).
      reads: config -> (sensors, Hz), known before there are statistics to build the method with.
    """

    build: Callable[[Mapping, Mapping[str, np.ndarray]], Method]
    picture: Callable
    reads: Callable[[Mapping], tuple[tuple[str, ...], int]]


METHODS = {
    "selfpab": Entry(
        selfpab.build,
        lambda parts, path, method: figures.reconstruction(parts, path, method.channels),
        lambda config: (sensors_of(CHANNELS), SAMPLE_RATE_HZ),
    ),
    "mae": Entry(mae.build, signal_figures.reconstruction, lambda config: ((config["sensor"],), config["rate_hz"])),
}


def build(config: Mapping, normalization: Mapping[str, np.ndarray]) -> Method:
    """The pre-training method that the config's `objective` names, freshly initialised from `seed`."""
    return entry(config).build(config, normalization)


def entry(config: Mapping) -> Entry:
    """The method that the config's `objective` names; ValueError where there is no such method."""
    if config.get("objective") not in METHODS:
        raise ValueError(f"config.objective is '{config.get('objective')}', expected one of {', '.join(METHODS)}")
    return METHODS[config["objective"]]


def sensors_of(channels: Sequence[str]) -> tuple[str, ...]:
    """The places of channels such as back_x, each once."""
    return tuple(dict.fromkeys(channel.split("_")[0] for channel in channels))


def check_data(config: Mapping, manifest: Mapping, folder) -> None:
    """Raises ValueError unless a prepared folder holds the sensors, at the rate, that the config's method reads."""
    found = sensors, rate = sensors_of(manifest["channels"]), manifest["sample_rate_hz"]
    wanted = entry(config).reads(config)
    if found == wanted:
        return
    holds, reads = (f"{', '.join(places)} at {hz} Hz" for places, hz in (found, wanted))
    other = ""
    if found == METHODS["selfpab"].reads(config):
        other = ", or train with --config=configs/selfpab.py"
    elif len(sensors) == 1:
        other = f", or train with --config=configs/mae.py --config.sensor={sensors[0]} --config.rate_hz={rate}"
    raise ValueError(
        f"{folder} holds {holds}, this config (objective {config['objective']}) reads {reads}: write the folder anew "
        f"with --sensors={','.join(wanted[0])} --rate={wanted[1]}{other}"
    )


def check_fits(method: Method, channels: Sequence[str], rate_hz: float, folder) -> None:
    """Raises ValueError unless recordings of these channels and this rate are what the method reads."""
    found, wanted = (tuple(channels), rate_hz), (method.recorded, method.tokens.rate_hz)
    if found != wanted:
        words = [f"{', '.join(names)} at {rate} Hz" for names, rate in (found, wanted)]
        raise ValueError(
            f"{folder} holds {words[0]}, the method reads {words[1]}: prepare the recordings with the --sensors and "
            "--rate that belong to it, or choose another sensor in the config"
        )


def check_run(method: Method, manifest: Mapping, data: Mapping) -> None:
    """Raises ValueError unless the method can train on a folder of its sensors in the way that `config.data` says."""
    check_order(data["sampling"], data["random_start"], data["split"])
    samples, tokens = manifest["settings"]["window_samples"], method.tokens
    if not tokens.count(samples) or (samples - tokens.size) % tokens.hop:
        raise ValueError(
            f"{data['dir']} holds windows of {samples / tokens.rate_hz:g} s ({samples} samples), expected a whole "
            f"number of tokens of {tokens.size} samples, one every {tokens.hop}: prepare it with another --window"
        )
    # What the objective itself refuses, such as a mask of no token, before there is a run folder.
    rows = {"acceleration": jax.ShapeDtypeStruct((2, len(method.recorded), samples), np.int16)}
    rows |= {"scale": jax.ShapeDtypeStruct((2,), np.float32)}
    jax.eval_shape(lambda batch, key: method.objective(method.model, batch, key, True)[0], rows, jax.random.key(0))
