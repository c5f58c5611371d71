"""Statistics of imported weights: published csv files and npz files, and what is wrong with damaged ones."""

import io

import numpy as np
import pytest

from selfpab_jax.interop.statistics import read_statistics


def assert_equal(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array)


def test_statistics(tmp_path):
    (tmp_path / "mean.csv").write_text("0.5\n-1\n\n")
    (tmp_path / "std.csv").write_text("0\r\n1e-3\r\n")
    found = read_statistics(tmp_path, "log")
    assert_equal(found, {"log_mean": np.array([0.5, -1]), "log_std": np.float32([0, 1e-3])})
    expected = {"linear_mean": np.float32([3, 4]), "linear_std": np.float32([1, 2])}
    np.savez(tmp_path / "normalization.npz", **expected, log_mean=np.zeros(3), frames=np.int64(7))
    assert_equal(read_statistics(tmp_path, "linear"), expected)
    with pytest.raises(ValueError, match=r"normalization.npz has no statistics of log"):
        read_statistics(tmp_path, "log")


@pytest.mark.parametrize(
    ("mean", "std", "sentence"),
    [
        ("1\n2\n", "1\ntwo\n", r"std.csv line 2: found 'two', expected one number a line"),
        ("1,2\n", "1,2\n", r"mean.csv line 1: found '1,2'"),
        ("1\n2\n", "1\n-0.1\n", "no negative deviation"),
        ("1\n2\n", "1\n", "holds 2 means and 1 standard deviations, expected as many of both"),
        ("1\nnan\n", "1\n2\n", "finite"),
        ("1\n1e300\n", "1\n2\n", "finite"),
        ("", "", "holds 0 means and 0 standard deviations"),
    ],
)
def test_statistics_that_are_wrong(mean, std, sentence, tmp_path):
    (tmp_path / "mean.csv").write_text(mean)
    (tmp_path / "std.csv").write_text(std)
    with pytest.raises(ValueError, match=sentence) as found:
        read_statistics(tmp_path, "linear")
    assert str(tmp_path) in str(found.value)


def test_missing_and_damaged_statistics(tmp_path):
    for missing in ("mean", "std"):
        with pytest.raises(FileNotFoundError, match=f"found neither {missing}.csv nor normalization.npz in {tmp_path}"):
            read_statistics(tmp_path, "linear")
        (tmp_path / "mean.csv").write_text("1\n")
    np.savez_compressed(buffer := io.BytesIO(), linear_mean=np.arange(99.0), linear_std=np.ones(99))
    np.save(single := io.BytesIO(), np.ones(3))
    np.savez(words := io.BytesIO(), linear_mean=np.array(["one"]), linear_std=np.ones(1))
    good, file = buffer.getvalue(), tmp_path / "normalization.npz"
    for bad in (b"", b"no zip", good[:-30], good[:90] + bytes(9) + good[99:], single.getvalue(), words.getvalue()):
        file.write_bytes(bad)
        with pytest.raises(ValueError, match=r"normalization.npz is damaged"):
            read_statistics(tmp_path, "linear")
    np.savez(file, linear_mean=np.float32(1), linear_std=np.float32(1))  # numbers, not vectors
    with pytest.raises(ValueError, match="holds 1 means and 1 standard deviations"):
        read_statistics(tmp_path, "linear")
