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
