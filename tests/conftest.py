"""What all tests share: virtual devices, and the folder of real recordings where there is one."""

import os

# Before anything imports jax: four CPU devices stand for a small accelerator host.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with harth/, har70plus/ (Parquet files) and expand_csv.py; skips where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SELFPAB_REAL_DATA", beside))
    if not (folder / "harth").is_dir():
        pytest.skip(f"no real recordings in {folder} (SELFPAB_REAL_DATA names their folder)")
    return folder


@pytest.fixture
def agree(record_property):
    """(name, ours, reference, tolerance): asserts that the largest difference, relative to the largest value of the
    reference, is within the tolerance; `pytest -s` shows it, `--junit-xml` keeps it."""
    import numpy as np

    def check(name: str, ours, reference, tolerance: float) -> None:
        ours, reference = (np.asarray(values, np.float64) for values in (ours, reference))
        assert ours.shape == reference.shape
        difference = float(np.max(np.abs(ours - reference)) / np.max(np.abs(reference)))
        print(f"largest difference, {name}: {difference:.1e} (tolerance {tolerance:g})")
        record_property(name, difference)
        assert difference <= tolerance, name  # a NaN fails too

    return check


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Path:
    """A prepared folder of the synthetic cohort: 4 people with 4 windows each."""
    from data_pipelines.prepare import PrepareSettings, prepare

    folder = tmp_path_factory.mktemp("cohort") / "prepared"
    prepare(None, "synthetic", folder, PrepareSettings(subjects=4, hours=0.35), workers=1, progress=False)
    return folder


@pytest.fixture(scope="session")
def random_params():
    """cfg -> (merge, params, model_state), every parameter drawn, norms and all biases included, in a scale that
    keeps attention lively."""
    import math

    import jax
    import numpy as np
    from flax import nnx

    from selfpab_jax.models.encoder import SpectrogramEncoder
    from selfpab_jax.models.functional import split

    def draw_all(cfg, seed=0):
        draw = np.random.default_rng(seed)
        shapes = nnx.eval_shape(lambda: SpectrogramEncoder(cfg, rngs=nnx.Rngs(0)))

        def value(path, leaf):
            if path[-1].key == "scale":
                return draw.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
            fan_in = leaf.shape[0] if path[-1].key == "kernel" else 100
            return (draw.standard_normal(leaf.shape, np.float32) / math.sqrt(fan_in)).astype(np.float32)

        merge, params, model_state = split(shapes)
        return merge, jax.tree_util.tree_map_with_path(value, params), model_state

    return draw_all
