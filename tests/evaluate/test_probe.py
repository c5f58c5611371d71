"""Probing on small made-up recordings whose right answers are known."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.evaluate import compare, probe, windows
from selfpab_jax.evaluate.cross_validation import leave_one_subject_out
from selfpab_jax.evaluate.features import chosen_layers, encode_windows, with_context
from selfpab_jax.models.encoder import EncoderConfig, spectrogram_encoder
from selfpab_jax.models.functional import split
from selfpab_jax.models.heads import probe_head
from selfpab_jax.signals import stft
from selfpab_jax.signals.stft import magnitude_spectrogram
from selfpab_jax.signals.tokens import Tokens

FRAMES = 20


def recording(subject: str, seed: int, samples: int = 1500, split_at: int = 900):
    """Two activities told apart by which axis carries gravity; changes every 5 s."""
    rng = np.random.default_rng(seed)
    label = np.repeat(rng.integers(0, 2, samples // 250), 250)
    g = rng.normal(0, 0.02, (6, samples))
    g[0] += label == 0
    g[5] += label == 1
    return types.SimpleNamespace(
        subject=subject,
        name=subject,
        counts=(g * 4096).astype(np.int16),
        scale_g=1 / 4096,
        label=np.where(label, 7, 3).astype(np.int16),
        time=np.arange(samples) * 20_000,
        segments=(slice(0, split_at), slice(split_at, samples)),
        activities={3: "standing", 7: "lying"},
    )


@pytest.fixture(scope="module")
def cut():
    people = [recording(name, seed) for seed, name in enumerate("abcd")]
    return windows.cut(people, stft.FRAMES, length=FRAMES, stride=10, validation=0.2)


@pytest.fixture(scope="module")
def encoder():
    cfg = EncoderConfig(d_model=16, heads=2, ff=32, layers=2, dropout=0.0)
    merge, trained, _ = split(spectrogram_encoder(cfg, 0))

    def encode(params, acceleration, valid, key):
        return merge(params, {})(magnitude_spectrogram(acceleration) / 25, valid, key)["layers"]

    def random(seed):
        return split(spectrogram_encoder(cfg, 1 + seed)).params

    return compare.Encoder(encode, trained, random, lambda a, valid: magnitude_spectrogram(a) / 25)


CFG = probe.ProbeConfig(
    hidden=32, steps=200, batch_size=16, cut_tokens=10, full_batch_size=4, learning_rate=2e-2, valid_every=50
)


def test_windows_cover_segments_and_mark_padding(cut):
    assert cut.codes == (3, 7) and cut.names == ("standing", "lying")
    assert len(cut.segments) == 8 and set(cut.subject) == set("abcd")
    assert not cut.label[~cut.valid].size or (cut.label[~cut.valid] == -1).all()
    first = cut.segments[0]
    assert len(first.truth) == 900 and first.windows.start == 0
    # 900 samples have 35 frames: windows start at 0, 10 and, flush with the end, 15.
    np.testing.assert_array_equal(cut.start[first.windows], [0, 10, 15])
    held = cut.held_out[cut.subject == "a"].any(axis=1)
    assert held.any() and not held.all()


def test_short_segment_becomes_one_padded_window():
    short = recording("a", 0, samples=1000, split_at=900)
    cut = windows.cut([short], stft.FRAMES, length=FRAMES, stride=10, validation=0.0)
    assert cut.valid[-1].sum() == 3  # 100 samples
    assert (cut.counts[-1][:, 100:] == 0).all() and (cut.label[-1][3:] == -1).all()


def test_one_activity_is_refused():
    one = recording("a", 0)
    one.label[:] = 3
    with pytest.raises(ValueError, match="at least two"):
        windows.cut([one], stft.FRAMES, length=FRAMES, stride=10, validation=0.2)


def test_padding_does_not_reach_the_features(encoder):
    short = recording("a", 0, samples=1000, split_at=900)
    cut = windows.cut([short], stft.FRAMES, length=FRAMES, stride=10, validation=0.0)
    frozen = lambda a, valid: encoder.encode(encoder.pretrained, a, valid, None)  # noqa: E731
    clean = encode_windows(frozen, cut.counts, cut.scale, cut.valid)
    dirty_counts = cut.counts.copy()
    dirty_counts[-1][:, 100:] = 30_000
    dirty = encode_windows(frozen, dirty_counts, cut.scale, cut.valid)
    # Frame 3 and later contain padding; frames 0..2 must not know what it holds.
    np.testing.assert_allclose(dirty[-1, :3], clean[-1, :3], rtol=1e-5, atol=1e-6)


def test_context_joins_neighbours():
    x = jnp.arange(6.0).reshape(1, 3, 2)
    np.testing.assert_array_equal(with_context(x, 1)[0], [[0, 0, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 0, 0]])


@pytest.mark.parametrize(("choice", "expected"), [("all", (0, 1, 2)), ("last", (2,)), ("0,2", (0, 2))])
def test_layers_can_be_chosen(choice, expected):
    assert chosen_layers(choice, 3) == expected


@pytest.mark.parametrize("choice", ["", "first", "3", "-1"])
def test_layers_that_do_not_exist_are_refused(choice):
    with pytest.raises(ValueError, match="layers is"):
        chosen_layers(choice, 3)


def test_every_layer_weight_gets_a_gradient_and_the_encoder_too(encoder, cut):
    """The original code detached the layers before its weighted sum; here gradients pass."""
    merge, head, _ = split(probe_head(3, 16, 4, 2, seed=0))
    source = probe.trained_along(encoder.encode, cut.counts, cut.scale)

    def loss(params):
        window = jnp.arange(4)
        arrays = source.arrays | {"valid": jnp.asarray(cut.valid)}
        layers = source.layers(params, arrays, window, window * 0, FRAMES, None)
        return probe.masked_cross_entropy(merge(params["head"], {})(layers), cut.label[:4])

    gradient = jax.grad(loss)({"head": head, "encoder": encoder.pretrained})
    assert (np.asarray(gradient["head"]["layer_weight"]) != 0).all()
    assert float(jnp.abs(gradient["encoder"]["embed"]["kernel"]).max()) > 0


def test_masked_cross_entropy_by_hand():
    log_p = jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]))
    loss = probe.masked_cross_entropy(log_p, jnp.array([0, 1, -1]))
    assert float(loss) == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 2)
    assert float(probe.masked_cross_entropy(log_p, jnp.array([-1, -1, -1]))) == 0


@pytest.mark.parametrize("name", ["pretrained_frozen", "pretrained", "scratch", "spectrogram_mlp_context"])
def test_every_kind_of_recipe_learns_an_easy_task(name, cut, encoder):
    folds = leave_one_subject_out("abcd")[:1]
    (row,) = compare.compare([name], [0], cut, folds, CFG, encoder)
    (confusion,) = (np.asarray(matrix) for matrix in row["confusion"].values())
    assert confusion.sum() == 1500  # every 50 Hz sample is scored once
    assert np.trace(confusion) / confusion.sum() > 0.85
    assert [h["step"] for h in row["history"] if not h["full"]][-1:] == {"pretrained": [150], "scratch": []}.get(
        name, [200]
    )


def test_an_interrupted_comparison_goes_on_and_is_repeatable(cut, encoder):
    folds = leave_one_subject_out("abcd")
    whole = list(compare.compare(["spectrogram_mlp"], [3], cut, folds, CFG, encoder))
    rest = list(
        compare.compare(
            ["spectrogram_mlp"],
            [3],
            cut,
            folds,
            CFG,
            encoder,
            finished=[("spectrogram_mlp", 3, 0), ("spectrogram_mlp", 3, 2)],
        )
    )
    assert [row["fold"] for row in rest] == [1, 3]
    assert rest[0] == whole[1] and rest[1] == whole[3]


def test_held_out_frames_are_not_trained_on(cut, encoder):
    features = np.zeros((*cut.label.shape, 1, 2), np.float32)
    merge, head, _ = split(probe_head(1, 2, 0, 2, seed=0))
    of_tokens = (cut.label, np.ones_like(cut.valid), cut.valid)
    trainer = probe.Trainer(probe.cached(jnp.asarray(features)), lambda p: merge(p, {}), *of_tokens, CFG)
    params, _ = trainer.fit({"head": head}, np.arange(4), steps=3, key=jax.random.key(0))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params["head"], head))


def test_unknown_recipe_is_refused(cut, encoder):
    with pytest.raises(ValueError, match="found nonsense"):
        next(iter(compare.compare(["nonsense"], [0], cut, leave_one_subject_out("abcd"), CFG, encoder)))


def test_results_merge_codes(cut):
    rows = [{"method": "spectrogram_mlp", "seed": 0, "fold": 0, "confusion": {"a": [[1, 2], [3, 4]]}}]
    out = compare.results(rows, cut.codes, cut.names, {"3": 7, "130": 13}, {})
    assert out["classes"] == ["lying"] and out["methods"]["spectrogram_mlp"]["subjects"]["a"]["confusion"] == [[[10]]]


def test_results_of_methods_with_other_numbers_of_seeds():
    """A seed that is half done does not take away what another has finished."""
    done = [("mlp", 0, "a"), ("mlp", 0, "b"), ("mlp", 1, "a"), ("svm", 0, "a"), ("svm", 0, "b"), ("te", 1, "a")]
    done += [("mlp", 2, "a"), ("mlp", 2, "b")]
    rows = [{"method": m, "seed": seed, "confusion": {who: [[seed, 1], [0, 2]]}} for m, seed, who in done]
    found = compare.results(rows, (3, 7), ("standing", "lying"), {}, {})
    assert found["seeds"] == [0, 1, 2]
    count = {m: {who: len(c["confusion"]) for who, c in one["subjects"].items()} for m, one in found["methods"].items()}
    assert count == {"mlp": {"a": 2, "b": 2}, "svm": {"a": 1, "b": 1}, "te": {"a": 1}}
    assert found["methods"]["mlp"]["subjects"]["b"]["confusion"] == [[[0, 1], [0, 2]], [[2, 1], [0, 2]]]


def test_convolutions_see_the_channels_of_the_spectrogram_not_of_the_recording(cut, encoder):
    """An encoder of one sensor: three channels of 26 bins, though recordings have six channels."""
    one = encoder._replace(spectrogram=lambda a, valid: magnitude_spectrogram(a[:, 3:]) / 25, channels=3)
    cfg = dataclasses.replace(CFG, steps=1, conv_filters=4, lstm_hidden=3)
    kernels = {}
    for name in ("deepconvlstm_spectrogram", "deepconvlstm_time"):
        params, _ = compare.Bench(probe.RECIPES[name], 0, cut, cfg, one).fit(["a", "b"], 0)
        kernels[name] = (params["head"]["convolutions"][0]["kernel"], params["head"]["lstms"][0]["dense_i"]["kernel"])
    shapes = {name: tuple(kernel.shape for kernel in two) for name, two in kernels.items()}
    assert shapes["deepconvlstm_spectrogram"] == ((5, 26, 4), (3 * 4, 4 * 3))
    assert shapes["deepconvlstm_time"] == ((5, 1, 4), (6 * 4, 4 * 3))


def test_the_share_held_out_of_each_activity():
    """A person who does one thing after the other: of each the first fifth, over all stretches."""
    person = recording("a", 0, samples=2000, split_at=1200)
    person.label[:], person.label[1000:] = 3, 7
    how = {"length": 4, "stride": 4, "validation": 0.2}
    tokens = Tokens(50, 50, 50)
    held = {}
    for each in (False, True):
        found = windows.cut([person], tokens, **how, of_each_activity=each)
        held[each] = found.label[found.held_out].tolist()
        assert not (found.held_out & ~found.valid).any()
    assert held == {False: [0] * 8, True: [0] * 4 + [1] * 4}


def test_training_along_does_not_forget_a_better_frozen_stage(cut, encoder):
    """A stage that does harm gives back what it was given, as measured on the held-out frames."""
    merge, head, _ = split(probe_head(3, 16, 4, 2, seed=0))
    cfg = dataclasses.replace(CFG, encoder_learning_rate=100.0, learning_rate=100.0, valid_every=1)
    source = probe.trained_along(encoder.encode, cut.counts, cut.scale)
    trainer = probe.Trainer(source, lambda p: merge(p, {}), cut.label, cut.held_out, cut.valid, cfg, first_step=1)
    given = {"head": head, "encoder": encoder.pretrained}
    params, history = trainer.fit(given, np.arange(len(cut.label)), steps=2, key=jax.random.key(0))
    before = trainer.held_out_loss(given, np.flatnonzero(cut.held_out.any(axis=1)))
    assert min(row["valid_loss"] for row in history) > before
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, given))


@pytest.mark.parametrize("field", ["hidden", "steps", "valid_every", "batch_size", "full_batch_size"])
def test_sizes_below_one_are_refused(field):
    with pytest.raises(ValueError, match=f"probe.{field} is 0, expected 1 or more"):
        probe.ProbeConfig(**{field: 0})


def test_scores_over_tokens_count_mixed_ones_that_training_leaves_out():
    """Patches of 10 s at 30 Hz, the second of them half lying, half standing."""
    patches, samples = Tokens(30, 300, 300), 1000
    label = np.full(samples, 3, np.int16)
    label[450:] = 7
    person = recording("a", 0, samples)
    person.label, person.segments, person.counts = label, (slice(0, samples),), np.zeros((3, samples), np.int16)
    found = windows.cut([person], patches, length=2, stride=1, validation=0.0, min_majority=0.75)
    assert found.counts.shape == (2, 3, 600) and found.start.tolist() == [0, 1]
    assert found.label.tolist() == [[0, -1], [-1, 1]]
    assert found.hours == pytest.approx(1000 / 30 / 3600)
    says_standing = np.log(np.full((2, 2, 2), [0.9, 0.1]))
    assert compare.score(says_standing, found, np.arange(2), "tokens")["a"].tolist() == [[2, 0], [1, 0]]  # tie: lowest
    assert compare.score(says_standing, found, np.arange(2), "samples")["a"].sum() == samples


def test_a_sequence_head_learns_what_no_single_token_tells(cut, encoder):
    """Each frame's class is that of the first frame of its window: only the sequence knows it."""
    first = np.repeat(cut.label[:, :1], cut.label.shape[1], axis=1)
    rewritten = dataclasses.replace(cut, label=np.where(cut.valid, first, -1))
    cfg = dataclasses.replace(CFG, cut_tokens=0, lstm_hidden=8, steps=60, learning_rate=3e-2)
    (row,) = compare.compare(["spectrogram_lstm"], [0], rewritten, leave_one_subject_out("abcd")[:1], cfg, encoder)
    losses = [entry["loss"] for entry in row["history"]]
    assert losses[-1] < 0.3 * losses[0]
