"""The comparison of recipes: every recipe, seed and fold through the same windows, training and scoring."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from selfpab_jax.evaluate.cross_validation import Fold
from selfpab_jax.evaluate.features import chosen_layers, encode_windows, token_samples, with_context
from selfpab_jax.evaluate.metrics import confusion_matrix, merge_classes
from selfpab_jax.evaluate.probe import RECIPES, ProbeConfig, Recipe, Source, Trainer, cached, trained_along
from selfpab_jax.evaluate.smoothing import smooth
from selfpab_jax.evaluate.stitch import average_windows, hop_distributions, sample_classes, token_labels, unfold
from selfpab_jax.evaluate.windows import ProbeWindows
from selfpab_jax.models.deep_conv_lstm import deep_conv_lstm
from selfpab_jax.models.functional import Module, split
from selfpab_jax.models.heads import lstm_head, probe_head
from selfpab_jax.signals.stft import CHANNELS

Params = dict[str, Any]


class Encoder(NamedTuple):
    """What is probed.

    Attributes:
      encode: (params, acceleration [B, C, S] in g, valid [B, T], key or None) -> n arrays [B, T, D].
      pretrained: its parameters; None where no run was given.
      random: seed -> parameters of the same shape, untrained.
      spectrogram: (acceleration, valid) -> one array [B, T, F], spectral features of each token.
      channels: number C of sensor channels whose features, F / C each, stand side by side in a spectrogram.
    """

    encode: Callable
    pretrained: Params | None
    random: Callable[[int], Params]
    spectrogram: Callable
    channels: int = len(CHANNELS)


SCORED = ("samples", "tokens")


def score(
    log_probabilities,
    windows: ProbeWindows,
    test: np.ndarray,
    scored: str = "samples",
    log_transition: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """{subject: confusion matrix [K, K]} of predicted windows, stitched segment by segment.

    Args:
      log_probabilities: [W', T, K] of the windows with the numbers `test`.
      scored: "samples" counts every labelled sample; "tokens" every token with a labelled sample, against the
        majority label, however mixed it is.
      log_transition: [K, K] from hop to hop, of `hop_labels`; predicted samples are then smoothed along each segment.
    """
    place = {int(window): row for row, window in enumerate(test)}
    k, out = len(windows.codes), {}
    for segment in windows.segments:
        numbers = np.arange(segment.windows.start, segment.windows.stop)
        if numbers[0] not in place:
            continue
        rows = [place[int(n)] for n in numbers]
        truth, tokens = segment.truth, windows.tokens
        placed = (windows.start[numbers], windows.valid[numbers])
        distribution = average_windows(np.exp(log_probabilities[rows]), *placed, tokens.count(len(truth)))  # [T, K]
        if scored == "tokens":
            classes, truth = distribution.argmax(axis=1), token_labels(truth, tokens)
        elif log_transition is None:
            classes = sample_classes(distribution, len(truth), tokens)
        else:
            by_hop = np.maximum(hop_distributions(distribution, tokens), np.finfo(float).tiny)
            classes = unfold(smooth(np.log(by_hop), log_transition), len(truth), tokens)
        confusion = confusion_matrix(truth, classes, k)
        out[segment.subject] = out.get(segment.subject, 0) + confusion
    return out


def hop_labels(windows: ProbeWindows, subjects: Sequence[str]) -> list[np.ndarray]:
    """For each segment of these subjects the majority label of each hop, int64 [T], -1 where unlabelled."""
    hops = windows.tokens._replace(size=windows.tokens.hop)
    return [token_labels(segment.truth, hops) for segment in windows.segments if segment.subject in subjects]


def compare(
    recipes: Sequence[str],
    seeds: Sequence[int],
    windows: ProbeWindows,
    folds: Sequence[Fold],
    cfg: ProbeConfig,
    encoder: Encoder,
    *,
    finished: Iterable[tuple[str, int, int]] = (),
    training_subjects: int = 0,
    scored: str = "samples",
) -> Iterable[dict]:
    """Yields a row per recipe, seed and fold: {"method", "seed", "fold", "confusion": {subject: [[...]]}, "history"}.

    Args:
      recipes: names of `RECIPES`.
      finished: (recipe, seed, fold number) of rows an earlier, interrupted call has given.
      training_subjects: train on so many subjects only, drawn anew in each fold; 0 is all of them.
      scored: see `score`.
    """
    check_names(recipes, seeds)
    finished = set(finished)
    total = len(recipes) * len(seeds) * len(folds)
    with tqdm(total=total, initial=len(finished), desc="probe", unit="fold") as bar:
        for seed in seeds:
            for name in recipes:
                todo = [(i, fold) for i, fold in enumerate(folds) if (name, seed, i) not in finished]
                if not todo:
                    continue
                bar.set_postfix_str(f"{name}, seed {seed}")
                bench = Bench(RECIPES[name], seed, windows, cfg, encoder)
                for number, fold in todo:
                    fold = reduced(fold, training_subjects, seed, number)
                    confusion, history = bench.run(fold, number, scored)
                    bar.update()
                    yield {
                        "method": name,
                        "seed": seed,
                        "fold": number,
                        "confusion": {subject: matrix.tolist() for subject, matrix in confusion.items()},
                        "history": history,
                    }


def train_on_all(recipe: str, windows: ProbeWindows, cfg: ProbeConfig, encoder: Encoder, *, number: int) -> Params:
    """{"encoder", "head"}: what a recipe of a pre-trained encoder learns from every subject, with seed 0.

    Args:
      number: of folds there were, so that the draws are not those of a fold.
    """
    bench = Bench(RECIPES[recipe], 0, windows, cfg, encoder)
    params, _ = bench.fit(sorted(set(windows.subject.tolist())), number)
    return {"encoder": encoder.pretrained} | params


def results(
    rows: Iterable[dict], codes: Sequence[int], names: Sequence[str], merge: Mapping[str, int], protocol: Mapping
) -> dict:
    """The rows of `compare` in the form `report` reads: per method and subject a confusion matrix for each seed.

    Of each method those seeds count that all its subjects have; of one that has none such, as in the middle of a run,
    the first seed and its subjects.

    Args:
      codes, names: of the classes, in the order of rows and columns.
      merge: code -> code that takes over its counts; those that do not occur are passed over.
      protocol: what the report says about how it was done.
    """
    name_of = dict(zip(codes, names, strict=True))
    into = {int(old): new for old, new in merge.items() if int(old) in name_of and new in name_of}
    collected: dict[str, dict[str, dict[int, list]]] = {}
    kept = codes
    for row in rows:
        for subject, confusion in row["confusion"].items():
            matrix, kept = merge_classes(np.asarray(confusion), codes, into)
            collected.setdefault(row["method"], {}).setdefault(subject, {})[row["seed"]] = matrix.tolist()
    seeds = sorted({seed for people in collected.values() for one in people.values() for seed in one})
    methods = {}
    for name, people in collected.items():
        own = [seed for seed in seeds if all(seed in one for one in people.values())]
        own = own or [min(seed for one in people.values() for seed in one)]
        matrices = {who: [one[seed] for seed in own] for who, one in sorted(people.items()) if own[0] in one}
        methods[name] = {"subjects": {who: {"confusion": stack} for who, stack in matrices.items()}}
    return {"methods": methods, "classes": [name_of[c] for c in kept], "protocol": dict(protocol), "seeds": seeds}


def check_names(recipes: Sequence[str], seeds: Sequence[int]) -> None:
    """Raises ValueError unless there is something to compare and every recipe exists."""
    if not recipes or not seeds:
        raise ValueError("nothing to compare: name at least one of methods and of seeds")
    if unknown := [name for name in recipes if name not in RECIPES]:
        raise ValueError(f"methods: found {', '.join(unknown)}, expected some of {', '.join(RECIPES)}")


def reduced(fold: Fold, count: int, seed: int, number: int) -> Fold:
    """The fold with `count` of its training subjects (all for 0); the draw is the same for every recipe."""
    if not count or count >= len(fold.train):
        return fold
    chosen = np.random.default_rng([seed, number]).choice(fold.train, count, replace=False)
    return Fold(train=tuple(sorted(chosen.tolist())), test=fold.test)


class Bench:
    """One recipe and seed: features and compiled steps that all its folds share.

    Raises:
      ValueError: a recipe on a pre-trained encoder, and none is given.
    """

    def __init__(self, recipe: Recipe, seed: int, windows: ProbeWindows, cfg: ProbeConfig, encoder: Encoder):
        if recipe.encoder == "pretrained" and encoder.pretrained is None:
            raise ValueError("recipes on a pre-trained encoder need one: set --config.encoder to a run folder")
        self._seed, self._windows, self._recipe, self._cfg = seed, windows, recipe, cfg
        self._channels = encoder.channels
        self._start = encoder.pretrained if recipe.encoder == "pretrained" else encoder.random(seed)
        self._frozen_steps = round(cfg.steps * recipe.unfreeze_at)

        def encode(params, acceleration, valid, key):
            if recipe.encoder == "signal":
                return [token_samples(acceleration, windows.tokens)]
            if recipe.encoder == "none":
                # Padding becomes zeros, so that a frame beside it sees the same as one at a window's end.
                return [with_context(encoder.spectrogram(acceleration, valid) * valid[..., None], recipe.context)]
            layers = encoder.encode(params, acceleration, valid, key)
            return [layers[i] for i in chosen_layers(cfg.layers, len(layers))]

        arrays = (windows.counts, windows.scale, windows.valid)
        shapes = jax.eval_shape(encode, self._start, *_example(windows), None)
        self._shape = (len(shapes), shapes[0].shape[-1])
        self._merge = split(self._new_head(0)).merge
        self._stages: list[tuple[Trainer, int]] = []
        if self._frozen_steps:
            frozen = lambda acceleration, valid: encode(self._start, acceleration, valid, None)  # noqa: E731
            features = encode_windows(frozen, *arrays)
            self._stages.append((self._trainer(cached(jax.numpy.asarray(features)), 0), self._frozen_steps))
        if self._frozen_steps < cfg.steps:
            source = trained_along(encode, windows.counts, windows.scale)
            self._stages.append((self._trainer(source, self._frozen_steps), cfg.steps - self._frozen_steps))

    def _new_head(self, seed: int) -> Module:
        classes = len(self._windows.codes)
        if self._recipe.head == "deepconvlstm":
            sizes = {"filters": self._cfg.conv_filters, "hidden": self._cfg.lstm_hidden}
            per_token = self._recipe.encoder == "signal"
            channels = self._windows.counts.shape[1] if per_token else self._channels
            return deep_conv_lstm(channels, self._shape[1], classes, seed, **sizes, per_token=per_token)
        if self._recipe.head == "lstm":
            return lstm_head(*self._shape, self._cfg.lstm_hidden, classes, seed)
        return probe_head(*self._shape, self._cfg.hidden if self._recipe.head == "mlp" else 0, classes, seed)

    def _trainer(self, source: Source, first_step: int) -> Trainer:
        merge = lambda params: self._merge(params, {})  # noqa: E731
        of_tokens = (self._windows.label, self._windows.held_out, self._windows.valid)
        return Trainer(source, merge, *of_tokens, self._cfg, first_step=first_step)

    def fit(self, subjects: Sequence[str], number: int, label: np.ndarray | None = None) -> tuple[Params, list[dict]]:
        """({"head"}, with "encoder" where it was trained along; training history) on these subjects.

        Args:
          number: of the fold, for the draws.
          label: [W, T], the only labels to train on, such as `few_labels.draw` gives; nothing is held out then.
        """
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        params = {"head": split(self._new_head(1000 * self._seed + number)).params}
        train, history = self._windows.of(subjects), []
        if label is not None:
            train = train[(label[train] >= 0).any(axis=1)]
        for trainer, steps in self._stages:
            if trainer.full:
                params = params | {"encoder": self._start}
            key, stage_key = jax.random.split(key)
            params, rows = trainer.fit(params, train, steps=steps, key=stage_key, label=label)
            history += [{**row, "full": trainer.full} for row in rows]
        return params, history

    def predict(self, params: Params, test: np.ndarray) -> np.ndarray:
        """Log-probabilities [W', T, K] of the windows with these numbers."""
        return self._stages[-1][0].predict(params, test)

    def run(self, fold: Fold, number: int, scored: str) -> tuple[dict[str, np.ndarray], list[dict]]:
        """(confusion matrices of the test subjects, training history)."""
        params, history = self.fit(fold.train, number)
        test = self._windows.of(fold.test)
        return score(self.predict(params, test), self._windows, test, scored), history


def _example(windows: ProbeWindows) -> tuple:
    """Shapes of (acceleration, valid) of one window."""
    _, channels, samples = windows.counts.shape
    return (
        jax.ShapeDtypeStruct((1, channels, samples), np.float32),
        jax.ShapeDtypeStruct((1, windows.valid.shape[1]), np.bool_),
    )
