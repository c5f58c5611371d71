"""The benchmark's counts: work of a step by hand and by the compiler, input of several processes, kept programs."""

import json
import os
import subprocess
import sys

import jax
import pytest

from data_pipelines.contract import fake_batch
from launch import bench
from launch.benchmarks.peak import square_products, training_flop
from launch.benchmarks.scale import measure
from launch.config_file import load_config
from launch.methods import build
from selfpab_jax.models.functional import split
from selfpab_jax.objectives.selfpab import N_BINS
from selfpab_jax.train import sharding


def config_of(name: str, **fields) -> dict:
    config = load_config(name)
    config.update_from_flattened_dict(fields)
    return json.loads(config.to_json())


def test_flop_of_a_window_at_full_size():
    """61.044 M multiplications a token in layers with weights, and two of N * D a layer for scores and mix."""
    by_hand = 6 * (599 * 61_044_000 + 4 * 2 * 599**2 * 1500)
    assert training_flop(config_of("configs/selfpab.py"), 599) == by_hand
    assert by_hand / 1e9 == pytest.approx(245.2, abs=0.05)


def test_flop_of_the_autoencoder_by_hand():
    """Two channels of two samples make a patch; five patches of which two stay."""
    sizes = {"channels": 2, "patch": 2, "d_model": 8, "layers": 1, "heads": 2, "ff_ratio": 1.5, "decoder_width": 4}
    config = {"objective": "mae", "mask_ratio": 0.6, "model": sizes | {"decoder_layers": 1}}
    encoder = 5 * (8 * 24 + 8 * 8 + 3 * 8 * 12) + 2 * 25 * 8
    assert training_flop(config, 5) == 6 * (5 * 4 * 8 + encoder + 5 * 8 * 4)
    config["model"] |= {"drop_tokens": True}
    encoder = 2 * (8 * 24 + 8 * 8 + 3 * 8 * 12) + 2 * 4 * 8
    decoder = 2 * 8 * 4 + 5 * (4 * 12 + 4 * 4 + 3 * 4 * 6) + 2 * 25 * 4
    assert training_flop(config, 5) == 6 * (5 * 4 * 8 + encoder + decoder + 5 * 4 * 4)


def test_flop_by_the_compiler(compile_cache):
    """It counts what is not a matrix product too, and leaves out the gradient of the input: some per cent."""
    sizes = {"model.d_model": 128, "model.heads": 2, "model.ff": 512, "model.layers": 1, "model.dropout": 0.0}
    config = config_of("configs/selfpab.py:smoke", **sizes)
    normal = {"linear_mean": jax.numpy.zeros(6 * N_BINS), "linear_std": jax.numpy.ones(6 * N_BINS)}
    method = build(config, normal)
    merge, params, extra = split(method.model)
    loss = jax.grad(lambda p, batch, key: method.objective(merge(p, extra), batch, key, True)[0])
    compiled = jax.jit(loss).lower(params, fake_batch(2), jax.random.key(0)).compile()
    assert compiled.cost_analysis()["flops"] == pytest.approx(2 * training_flop(config, 599), rel=0.1)


def test_products_of_a_mesh_are_spread_over_its_devices(monkeypatch):
    monkeypatch.setattr("launch.benchmarks.peak.SIZES", {"cpu": (16, 3)})
    multiply, flop = square_products(sharding.make_mesh(sharding.MeshConfig(2, 1, 2)), "bfloat16")
    assert flop == 4 * 3 * 2 * 16**3
    found = multiply()
    assert (found.shape, found.dtype) == ((4, 16, 16), "bfloat16")
    assert [shard.data.shape for shard in found.addressable_shards] == [(1, 16, 16)] * 4


def test_input_of_several_processes(prepared):
    rows = measure([2], 4, repeats=2, data=str(prepared), turn_s=0.1)
    assert [row["processes"] for row in rows] == [1, 2]
    assert rows[0]["ratio"] == 1
    for row in rows:
        assert len(row["rounds"]) == 2 and all(len(found) == row["processes"] for found in row["rounds"])
        means = [sum(found) / len(found) for found in row["rounds"]]
        assert row["batches_per_s"] == pytest.approx(sum(means) / 2)
        assert row["windows_per_s"] == pytest.approx(row["batches_per_s"] * row["processes"] * 4)
        assert 0 < row["slowest"] <= row["batches_per_s"]
    assert rows[1]["ratio"] == pytest.approx(rows[1]["batches_per_s"] / rows[0]["batches_per_s"])


def test_a_folder_that_cannot_be_read(tmp_path, capsys, monkeypatch):
    """One sentence from the reading process; and no need of PyTorch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    flags = ["--what=input", "--processes=2", f"--json={tmp_path}/x", f"--data={tmp_path}/none"]
    assert bench.main(flags) == 2
    assert "none has no manifest.json" in capsys.readouterr().err


PROGRAM = """
import jax
from launch import compilation
compilation.keep_compiled()
jax.block_until_ready([jax.jit(lambda x, i=i: x * i + 1)(1.0) for i in range(3)])
print(compilation.report())
"""


def test_programs_are_kept_and_found_again(tmp_path):
    settings = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "XDG_CACHE_HOME": str(tmp_path / "home")}
    named = settings | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "kept")}

    def report(settings: dict) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")} | settings
        ran = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    first, second = report(named), report(named)
    count = int(first.split("cache, ")[1].split()[0])
    assert count >= 3
    assert first == f"0 programs from the compilation cache, {count} compiled anew; cache: {tmp_path}/kept"
    assert second == f"{count} programs from the compilation cache, 0 compiled anew; cache: {tmp_path}/kept"
    assert report(settings) == f"0 programs from the compilation cache, {count} compiled anew; cache: none " + (
        "(JAX_COMPILATION_CACHE_DIR names one)"
    )
    assert not (tmp_path / "home").exists()  # on a CPU nothing is kept unasked
