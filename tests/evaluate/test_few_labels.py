"""Training on few labels, on made-up recordings whose blocks of 5 s are known."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.evaluate import probe, windows
from selfpab_jax.evaluate.few_labels import draw
from selfpab_jax.models.functional import split
from selfpab_jax.models.heads import probe_head
from selfpab_jax.signals import stft
from selfpab_jax.signals.tokens import Tokens

BLOCK = 250  # samples of 5 s
RATE_HZ = 50
FIVE_SECONDS = Tokens(RATE_HZ, BLOCK, BLOCK)
WALKING, RUNNING, LYING = 1, 2, 8  # in this order the classes 0, 1, 2
# The activity of each block, in two segments; the last one of each is shorter than 5 s.
BLOCKS = {
    "a": ([WALKING] * 6 + [RUNNING] * 2, [LYING, WALKING, WALKING, LYING]),
    "b": ([WALKING, LYING] * 4, [RUNNING] * 3 + [WALKING] * 5),
    "c": ([RUNNING] * 8, [WALKING] * 8),
}
TAIL = 120


def recording(subject: str):
    pieces = [np.append(np.repeat(blocks, BLOCK), np.full(TAIL, LYING)) for blocks in BLOCKS[subject]]
    label, middle = np.concatenate(pieces), len(pieces[0])
    return types.SimpleNamespace(
        subject=subject,
        name=subject,
        counts=np.zeros((6, len(label)), np.int16),
        scale_g=1 / 4096,
        label=label.astype(np.int16),
        segments=(slice(0, middle), slice(middle, len(label))),
        activities={WALKING: "walking", RUNNING: "running", LYING: "lying"},
    )


def cut(tokens: Tokens, length: int, stride: int, people="abc"):
    return windows.cut([recording(name) for name in people], tokens, length=length, stride=stride, validation=0.2)


@pytest.fixture(scope="module")
def frames():
    """Windows of 20 frames of 1 s, a half second apart; they overlap."""
    return cut(stft.FRAMES, 20, 8)


@pytest.fixture(scope="module")
def blocks():
    """Windows of one token of 5 s, one after the other."""
    return cut(FIVE_SECONDS, 1, 1)


def samples(found, label) -> dict[int, np.ndarray]:
    """Segment -> the class of each sample that lies in a labelled token, -1 elsewhere; tokens may not contradict."""
    seen = {}
    for number, segment in enumerate(found.segments):
        seen[number] = np.full(len(segment.truth), -1)
        for window in range(segment.windows.start, segment.windows.stop):
            for token in np.flatnonzero(label[window] >= 0):
                begin = (found.start[window] + token) * found.tokens.hop
                piece = seen[number][begin : begin + found.tokens.size]
                assert set(piece) <= {-1, label[window, token]}
                piece[:] = label[window, token]
    return seen


def seconds(seen) -> list[float]:
    return [sum((one == k).sum() for one in seen.values()) / RATE_HZ for k in range(3)]


@pytest.mark.parametrize("kind", ["frames", "blocks"])
def test_as_many_seconds_of_each_activity_of_the_chosen_subjects(kind, request):
    found = request.getfixturevalue(kind)
    label = draw(found, "ab", 15, 0, 3)
    assert label.shape == found.label.shape and label.dtype == np.int32
    seen = samples(found, label)
    assert seconds(seen) == [15, 15, 15]
    assert (label[found.of("c")] == -1).all()
    for segment, drawn in zip(found.segments, seen.values(), strict=True):
        # Whole blocks of 5 s or nothing of them, with their own label; nothing of the rest at the end.
        for block in drawn[: -TAIL or None].reshape(-1, BLOCK):
            assert len(set(block)) == 1
        assert (drawn[-TAIL:] == -1).all()
        np.testing.assert_array_equal(drawn[drawn >= 0], segment.truth[drawn >= 0])


def test_all_there_is_where_it_is_not_enough(frames, blocks):
    for found in (frames, blocks):
        # Of a: 8 blocks walking, 2 running, 2 lying.
        assert seconds(samples(found, draw(found, ("a",), 20, 0))) == [20, 10, 10]
        assert seconds(samples(found, draw(found, ("a",), 600, 0))) == [40, 10, 10]


@pytest.mark.parametrize("seed", [(0, 0), (0, 1), (7, 2)])
def test_other_tokens_and_windows_get_the_same_blocks(frames, blocks, seed):
    expected = samples(blocks, draw(blocks, "abc", 10, *seed))
    for found in (frames, cut(stft.FRAMES, 599, 300), cut(Tokens(RATE_HZ, 50, 50), 7, 7)):
        seen = samples(found, draw(found, "abc", 10, *seed))
        assert seen.keys() == expected.keys()
        for number, drawn in seen.items():
            np.testing.assert_array_equal(drawn, expected[number])


def test_the_seed_decides(frames):
    first, again, other, fold = (draw(frames, "abc", 10, *seed) for seed in ((0, 1), (0, 1), (1, 1), (0, 2)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any() and (first != fold).any()


def test_what_is_drawn_of_an_activity_does_not_depend_on_the_others(blocks):
    """With less walking, the same running and lying are drawn."""
    people = [recording(name) for name in "abc"]
    people[0].label[people[0].label == WALKING] = -1
    fewer = windows.cut(people, FIVE_SECONDS, length=1, stride=1, validation=0.2)
    first, second = draw(blocks, "abc", 10, 4), draw(fewer, "abc", 10, 4)
    np.testing.assert_array_equal(np.maximum(first, 0), np.maximum(second, 0))
    assert (first != second).any()


def test_frames_across_the_edge_of_a_block_are_not_trained_on():
    """Frame t covers the half seconds t and t + 1: of the ten frames that begin in a block the last one leaves it."""
    found = cut(stft.FRAMES, 599, 300, people="a")
    label = draw(found, ("a",), 600, 0)[0]
    frames = stft.FRAMES.count(8 * BLOCK + TAIL)
    inside = [t for t in range(frames) if t % 10 != 9 and t < 80]
    assert np.flatnonzero(label >= 0).tolist() == inside
    np.testing.assert_array_equal(label[inside], found.label[0][inside])


def test_a_block_is_drawn_for_its_majority_and_its_frames_keep_their_own_label():
    person = recording("a")
    person.label[100:BLOCK] = RUNNING  # 2 s walking, 3 s running
    found = windows.cut([person], stft.FRAMES, length=599, stride=300, validation=0.0)
    label = draw(found, ("a",), 600, 0)[0][:10]
    assert label.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, -1]  # frame 3 is half of each: the lower class
    assert seconds(samples(blocks := cut(FIVE_SECONDS, 1, 1, "a"), draw(blocks, ("a",), 600, 0)))[1] == 10


@pytest.mark.parametrize("wrong", [0, -5, 3, 7.5, 61])
def test_seconds_that_are_no_blocks_are_refused(blocks, wrong):
    with pytest.raises(ValueError, match=f"^{wrong:g} s of each activity are asked for, expected a multiple of 5 s"):
        draw(blocks, "a", wrong, 0)


def test_training_sees_these_labels_only(blocks):
    """One drawn window decides what is learnt, also where it is held out; the data's own labels do not count."""
    marks = np.zeros((*blocks.label.shape, 1, 3), np.float32)
    marks[np.arange(len(marks)), 0, 0, blocks.label[:, 0]] = 1  # features that tell the class
    merge, head, _ = split(probe_head(1, 3, 0, 3, seed=0))
    cfg = probe.ProbeConfig(steps=30, batch_size=16, learning_rate=0.1, valid_every=10)
    of_tokens = (blocks.label, np.ones_like(blocks.valid), blocks.valid)  # everything is held out
    trainer = probe.Trainer(probe.cached(jnp.asarray(marks)), lambda params: merge(params, {}), *of_tokens, cfg)
    label = np.full_like(blocks.label, -1)
    (walking, *_) = np.flatnonzero(blocks.label[:, 0] == 0)
    label[walking] = 2  # as if it were lying
    everyone = np.arange(len(label))
    how = {"steps": 30, "key": jax.random.key(0), "label": label}
    params, history = trainer.fit({"head": head}, everyone, **how)
    predicted = trainer.predict(params, everyone)[:, 0].argmax(-1)
    assert (predicted[blocks.label[:, 0] == 0] == 2).all()
    assert [row["step"] for row in history] == [10, 20, 30] and not any("valid_loss" in row for row in history)
    # Without any label nothing is learnt.
    untouched, _ = trainer.fit({"head": head}, everyone, **how | {"label": np.full_like(label, -1)})
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), untouched["head"], head))
