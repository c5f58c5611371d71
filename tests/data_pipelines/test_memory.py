"""Reading ahead of a consumer that is slower than the disk takes a bounded amount of memory."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
LIMIT_MB = 1000

# Peak memory of a process of its own, before the first batch and after many, in MB. A pause after each batch lets the
# threads read ahead as far as they would.
SLOW_CONSUMER = """
import resource, sys, time
import numpy as np
from data_pipelines.pipeline import train_batches, window_count

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

folder, steps = sys.argv[1], int(sys.argv[2])
before = peak()
with train_batches(folder, global_batch=64, seed=0, indices=np.arange(window_count(folder))) as batches:
    for step, batch in zip(range(steps), batches):
        time.sleep(0.1)
        if step == steps // 2:
            half = peak()
print(before, half, peak(), batch["acceleration"].nbytes / 2**20)
"""


@pytest.mark.slow
def test_a_slow_consumer_does_not_fill_the_memory(prepared, record_property):
    command = [sys.executable, "-c", SLOW_CONSUMER, str(prepared), "80"]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    before, half, after, batch = map(float, ran.stdout.split())
    print(
        f"{after - before:.0f} MB more than before the first batch of {batch:.0f} MB, {after - half:.0f} of them late"
    )
    record_property("MB of the input", after - before)
    assert after - before < LIMIT_MB
    assert after - half < 4 * batch  # it does not grow
