"""Chaos: runs interrupted by SIGKILL and SIGTERM at random moments end bit-equal to one that nothing disturbed."""

import os
import random
import signal
import time

import pytest

STEPS = 24
FIELDS = (f"train.steps={STEPS}", "train.log_every=2", "train.valid_every=8", "train.save_every=3", "model.layers=1")


def interrupt(runs, name: str, number: int, draw: random.Random) -> bool:
    """Starts or resumes a run and sends it a signal at some moment; False if it ended before."""
    before = len(runs.batches(name))
    child = runs.start(name, "--resume")
    # One in four is hit while it starts; the others somewhere in the steps, saves and validations.
    steps = 0 if draw.random() < 0.25 else draw.randint(1, STEPS // 4)
    while child.poll() is None and len(runs.batches(name)) < before + 8 * steps:
        time.sleep(0.01)
    time.sleep(draw.random() * (0.3 if steps else 3.0))
    sent = child.poll() is None
    if sent:
        child.send_signal(number)
    status = child.wait(timeout=120)
    # Before Python runs, SIGTERM ends it as it ends any program.
    expected = {signal.SIGKILL: (-9,), signal.SIGTERM: (75, -15)}[number] if sent else (0,)
    assert status in (*expected, 0), runs.said(name)
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)  # no process of its session is left
    return status != 0


def check(runs, name: str, numbers: list[int], draw: random.Random) -> int:
    """Interrupts a run once with each signal and compares its end with the undisturbed run; how often it was hit."""
    hit = sum(interrupt(runs, name, number, draw) for number in numbers)
    assert f"step {STEPS};" in runs.finish(name, "--resume")
    assert runs.digest(name) == runs.digest("undisturbed")
    assert runs.rows(name) == runs.rows("undisturbed")
    # Whatever was repeated, each step saw the batch it sees in the undisturbed run.
    assert set(runs.batches(name)) == set(runs.batches("undisturbed"))
    return hit


def test_three_interruptions_on_one_device(prepared, tmp_path, runs_in):
    # Compiled without optimizations, which is quicker; the slow tests below have them.
    runs = runs_in(tmp_path, prepared, FIELDS, optimize=False)
    runs.finish("undisturbed")
    hit = check(runs, "disturbed", [signal.SIGKILL, signal.SIGTERM, signal.SIGKILL], random.Random(0))
    assert hit >= 2


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_chaos(prepared, tmp_path, devices, runs_in):
    runs = runs_in(tmp_path, prepared, FIELDS, devices=devices)
    runs.finish("undisturbed")
    for seed in range(3):
        draw = random.Random(seed)
        numbers = [draw.choice([signal.SIGKILL, signal.SIGTERM]) for _ in range(7)]
        hit = check(runs, f"disturbed-{seed}", numbers, draw)
        print(f"{devices} device(s), run {seed}: {hit} interruptions")
        assert hit >= 5
