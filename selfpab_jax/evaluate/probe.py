"""Probing: a classifier per token on an encoder, frozen or trained along, one subject group left out at a time."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One row of the comparison.

    Attributes:
      encoder: "pretrained", "random" (same shape, untrained), "none" (spectral features of each token) or "signal" (the
        samples of each token, in g).
      unfreeze_at: share of the steps after which the encoder trains along; 1 never, 0 from the start.
      head: "mlp" (one hidden layer), "linear", "lstm" (two bidirectional layers over the tokens of a window) or
        "deepconvlstm" (over the tokens, for encoder "signal" over the samples of each).
      context: neighbouring tokens given to the classifier on each side, for encoder "none".
    """

    encoder: str
    unfreeze_at: float = 1.0
    head: str = "mlp"
    context: int = 0


RECIPES = {
    "pretrained": Recipe("pretrained", unfreeze_at=0.75),  # SelfPAB's protocol
    "pretrained_frozen": Recipe("pretrained"),
    "pretrained_linear": Recipe("pretrained", head="linear"),
    "pretrained_linear_tuned": Recipe("pretrained", unfreeze_at=0.5, head="linear"),
    "pretrained_lstm": Recipe("pretrained", head="lstm"),
    "pretrained_lstm_tuned": Recipe("pretrained", unfreeze_at=0.5, head="lstm"),
    "random_frozen": Recipe("random"),
    "random_linear": Recipe("random", head="linear"),
    "random_lstm": Recipe("random", head="lstm"),
    "scratch": Recipe("random", unfreeze_at=0.0),
    "scratch_linear": Recipe("random", unfreeze_at=0.0, head="linear"),
    "scratch_lstm": Recipe("random", unfreeze_at=0.0, head="lstm"),
    "spectrogram_linear": Recipe("none", head="linear"),
    "spectrogram_lstm": Recipe("none", head="lstm"),
    "spectrogram_mlp": Recipe("none"),
    "spectrogram_mlp_context": Recipe("none", context=4),  # 5 s around the frame
    "deepconvlstm_spectrogram": Recipe("none", head="deepconvlstm"),
    "deepconvlstm_time": Recipe("signal", head="deepconvlstm"),
}


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """How a probe is trained; the defaults are the article's where it gives one (section 4.2, Table 2).

    Attributes:
      hidden: width of the hidden layer of an MLP.
      lstm_hidden: width of an LSTM in each direction.
      conv_filters: feature maps of each convolution of a DeepConvLSTM.
      layers: which layer outputs are summed: "all", "last" or a list like "0,1,2" (0 is the embedding).
      steps: length; recipes that never unfreeze use all of it for the head.
      batch_size: cuts per step while the encoder is frozen.
      cut_tokens: their length in tokens, cut at random; 0, or more than a window's: whole windows.
      full_batch_size: windows per step while the encoder trains along.
      learning_rate, encoder_learning_rate: Adam's, for the head and for the encoder.
      decay: the rate falls exponentially to this share over all steps.
      valid_every: steps between looks at the held-out frames; the best look is kept ("best") or the end ("last").
    """

    hidden: int = 1028
    lstm_hidden: int = 128
    conv_filters: int = 64
    layers: str = "all"
    steps: int = 2000
    batch_size: int = 32
    cut_tokens: int = 0
    full_batch_size: int = 32
    learning_rate: float = 1e-4
    encoder_learning_rate: float = 1e-4
    decay: float = 0.1
    valid_every: int = 100
    select: str = "best"

    def __post_init__(self):
        if self.select not in ("best", "last"):
            raise ValueError(f"probe.select is '{self.select}', expected best or last")
        if self.cut_tokens < 0:
            raise ValueError(f"probe.cut_tokens is {self.cut_tokens}, expected 0 (whole windows) or more")
        for name in (
            "hidden",
            "lstm_hidden",
            "conv_filters",
            "steps",
            "batch_size",
            "full_batch_size",
            "valid_every",
        ):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"probe.{name} is {value}, expected 1 or more")


class Source(NamedTuple):
    """Where a stage of training takes layer outputs from.

    Attributes:
      arrays: device arrays the function reads.
      layers: (params, arrays, window [B], offset [B], length, key) -> [B, length, n, D].
      full: whether the encoder trains along; then offset is 0 and length the whole window.
    """

    arrays: dict[str, jax.Array]
    layers: Callable[..., jax.Array]
    full: bool


def cached(features: jax.Array) -> Source:
    """Frozen encoder: cuts of features [W, T, n, D] computed beforehand."""

    def layers(params, arrays, window, offset, length, key):
        size = (1, length, *arrays["features"].shape[2:])
        cut = lambda w, o: jax.lax.dynamic_slice(arrays["features"], (w, o, 0, 0), size)[0]  # noqa: E731
        return jax.vmap(cut)(window, offset)  # [B, length, n, D]

    return Source({"features": features}, layers, full=False)


def trained_along(encode: Callable, counts: np.ndarray, scale: np.ndarray) -> Source:
    """Encoder in the loop: whole windows, encoded with params["encoder"].

    Args:
      encode: (encoder params, acceleration [B, C, S], valid [B, T], key or None) -> n arrays [B, T, D].
    """

    def layers(params, arrays, window, offset, length, key):
        acceleration = arrays["counts"][window].astype(jnp.float32) * arrays["scale"][window][:, None, None]
        return jnp.stack(encode(params["encoder"], acceleration, arrays["valid"][window], key), axis=2)

    arrays = {"counts": jnp.asarray(counts), "scale": jnp.asarray(scale)}
    return Source(arrays, layers, full=True)


class Trainer:
    """Trains and applies heads on one `Source`; compiled once, used for every fold.

    Args:
      source: see there.
      merge: params["head"] -> head module.
      label, held_out, valid: [W, T] of `ProbeWindows`.
      cfg: see there.
      first_step: steps of the schedule that an earlier stage has used.
    """

    def __init__(
        self, source: Source, merge: Callable, label, held_out, valid, cfg: ProbeConfig, *, first_step: int = 0
    ):
        self._source, self._merge, self._cfg = source, merge, cfg
        self.full, self._first_step = source.full, first_step
        self._label, self._held_out = np.asarray(label), np.asarray(held_out)
        self._arrays = source.arrays | {
            "label": jnp.asarray(np.where(held_out, -1, label)),
            "valid": jnp.asarray(valid),
        }

        def rate(peak):
            return lambda count: peak * cfg.decay ** ((count + first_step) / cfg.steps)

        parts = {"head": _adam(rate(cfg.learning_rate)), "encoder": _adam(rate(cfg.encoder_learning_rate))}
        self._optimizer = optax.partition(parts, lambda params: {k: k for k in params})
        self._run = jax.jit(self._steps, static_argnames="count")
        self._log_probabilities = jax.jit(self._predict)

    def _steps(self, state, arrays, windows, number, key, *, count: int):
        """`count` updates on random cuts of the first `number` of `windows` (padded to a fixed length)."""
        cfg, total = self._cfg, arrays["label"].shape[1]
        length = total if self._source.full else min(cfg.cut_tokens or total, total)
        rows = cfg.full_batch_size if self._source.full else cfg.batch_size

        def update(state, step):
            params, opt_state = state
            key_window, key_offset, key_dropout = jax.random.split(jax.random.fold_in(key, step), 3)
            window = windows[jax.random.randint(key_window, (rows,), 0, number)]
            offset = jax.random.randint(key_offset, (rows,), 0, total - length + 1)
            cut = jax.vmap(lambda x, w, o: jax.lax.dynamic_slice_in_dim(x[w], o, length), (None, 0, 0))
            label, valid = (cut(arrays[name], window, offset) for name in ("label", "valid"))  # [B, length]

            def loss_of(params):
                layers = self._source.layers(params, arrays, window, offset, length, key_dropout)
                return masked_cross_entropy(self._merge(params["head"])(layers, valid), label)

            loss, gradient = jax.value_and_grad(loss_of)(params)
            updates, opt_state = self._optimizer.update(gradient, opt_state, params)
            return (optax.apply_updates(params, updates), opt_state), loss

        first = state["step"]
        pair = (state["params"], state["opt_state"])
        (params, opt_state), losses = jax.lax.scan(update, pair, first + jnp.arange(count))
        return {"params": params, "opt_state": opt_state, "step": first + count}, losses.mean()

    def _predict(self, params, arrays, window):
        length = arrays["label"].shape[1]
        layers = self._source.layers(params, arrays, window, jnp.zeros_like(window), length, None)
        return self._merge(params["head"])(layers, arrays["valid"][window])  # [B, T, K]

    def predict(self, params, windows: np.ndarray) -> np.ndarray:
        """Log-probabilities [W', T, K] of these windows."""
        rows = self._cfg.full_batch_size if self._source.full else self._cfg.batch_size
        parts = []
        for begin in range(0, len(windows), rows):
            chosen = windows[begin : begin + rows]
            padded = np.resize(chosen, rows)  # repeats rows, so that every call has one shape
            parts.append(np.asarray(self._log_probabilities(params, self._arrays, padded))[: len(chosen)])
        return np.concatenate(parts)

    def held_out_loss(self, params, windows: np.ndarray) -> float:
        """Mean cross-entropy over the held-out tokens of these windows."""
        label = np.where(self._held_out, self._label, -1)[windows]  # [W', T]
        known = label >= 0
        log_probabilities = self.predict(params, windows)[known]  # [n, K]
        return float(-log_probabilities[np.arange(known.sum()), label[known]].mean())

    def fit(self, params: dict[str, Any], windows: np.ndarray, *, steps: int, key, label: np.ndarray | None = None):
        """(params, history): trained on these windows, history a list of {"step", "loss", "valid_loss"}.

        With `select` "best" the parameters of the look with the lowest held-out loss are returned.

        Args:
          label: [W, T], in place of the data's own, to train on fewer; nothing is held out then.
        """
        arrays, held_out = self._arrays, self._held_out & (self._label >= 0)
        if label is not None:
            arrays, held_out = arrays | {"label": jnp.asarray(label)}, np.zeros_like(held_out)
        padded = jnp.asarray(np.resize(windows, len(self._label)))
        held = windows[held_out[windows].any(axis=1)]
        state = {"params": params, "opt_state": self._optimizer.init(params), "step": jnp.zeros((), jnp.int32)}
        choose = len(held) > 0 and self._cfg.select == "best"
        # What an earlier stage has chosen is a candidate too: training the encoder along may do harm.
        before = self.held_out_loss(params, held) if choose and self._first_step else np.inf
        best, history, done = (before, params), [], 0
        while done < steps:
            count = min(self._cfg.valid_every, steps - done)
            state, loss = self._run(state, arrays, padded, len(windows), key, count=count)
            done += count
            row = {"step": done, "loss": float(loss)}
            if choose:
                row["valid_loss"] = self.held_out_loss(state["params"], held)
                if row["valid_loss"] < best[0]:
                    best = (row["valid_loss"], state["params"])
            history.append(row)
        return (best[1] if np.isfinite(best[0]) else state["params"]), history


def masked_cross_entropy(log_probabilities, label):
    """Mean negative log-likelihood over the labelled tokens.

    Args:
      log_probabilities: [..., N, K], float32.
      label: int [..., N], class index, negative where unlabelled or padding (left out).
    """
    known = label >= 0
    picked = jnp.take_along_axis(log_probabilities, jnp.where(known, label, 0)[..., None], axis=-1)[..., 0]
    return -jnp.sum(jnp.where(known, picked, 0)) / jnp.maximum(known.sum(), 1)


def _adam(schedule) -> optax.GradientTransformation:
    """Adam without weight decay, as the downstream code of the article uses it."""
    return optax.adam(schedule, b1=0.9, b2=0.98, eps=1e-8)
