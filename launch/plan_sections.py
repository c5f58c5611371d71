"""The sections of the plan of a large run, each worked out from measured numbers."""

import math
from collections.abc import Mapping

# Dense bfloat16 TFLOP/s of one device, as their makers state them.
PEAKS = {"A100": 312, "H100 or H200": 989, "TPU v5e": 197, "TPU v5p": 459, "TPU v6e": 918}
SHARES = (0.2, 0.4, 0.55)
USUAL = 0.4
# One interruption in so many device-hours: 419 in 54 days of 16,384 GPUs (Llama 3, arXiv 2407.21783, section 3.3.4).
BETWEEN_FAILURES_H = 54 * 24 * 16_384 / 419
WINDOW_S = 300
TRAINED = 0.9  # share of the hours; the others validate


def sections(facts: Mapping) -> list[str]:
    """Headings and paragraphs of the plan, in order."""
    step, hours, devices = facts["step"], facts["hours"], facts["devices"]
    windows = hours * TRAINED * 3600 / WINDOW_S
    steps = facts["epochs"] * windows / facts["batch"]
    tflop = steps * facts["batch"] * step["tflop_per_step"] / step["batch"]
    machine = "; ".join(f"{name} {value}" for name, value in facts["machine"].items())
    return [
        f"# Pre-training on {hours:,.0f} hours",
        f"{facts['epochs']:g} epochs on {devices} devices; worked out by `selfpab plan`, measured on: {machine}.",
        *_storage(facts["storage"], hours),
        *_computing(facts, windows, steps, tflop),
        *_reading(facts, windows * facts["epochs"] / tflop),
        *_failures(facts, tflop),
    ]


def _hours(tflop: float, peak: float, share: float = USUAL) -> float:
    """Device-hours of so much work at a share of a peak in TFLOP/s."""
    return tflop / (peak * share) / 3600


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _storage(storage: list[Mapping], hours: float) -> list[str]:
    rows = []
    for data in storage:
        hourly = data["bytes"] / data["hours"]
        kind = f"{data['channels']} channels at {data['rate_hz']:g} Hz"
        rows.append([data["name"], kind, f"{data['hours']:.1f}", f"{hourly / 1e6:.2f}", f"{hourly * hours / 1e9:,.0f}"])
    return ["## Storage", _table(["data", "recorded", "hours measured", "MB/hour", f"GB for {hours:,.0f} h"], rows)]


def _computing(facts: Mapping, windows: float, steps: float, tflop: float) -> list[str]:
    step = facts["step"]
    own = _hours(tflop, step["peak_tflop_per_s"], step["utilisation"])
    said = (
        f"{windows:,.0f} windows an epoch, {steps:,.0f} steps of {facts['batch']}, "
        f"{step['tflop_per_step'] / step['batch']:.4g} TFLOP a window: {tflop * 1e12:.3g} FLOP. Measured, on "
        f"{step['devices']} {step['device']} device(s), {step['dtype']}: {step['utilisation']:.0%} of a matmul peak of "
        f"{step['peak_tflop_per_s']:.3g} TFLOP/s, which makes {own:,.0f} device-hours there. Elsewhere, at assumed "
        "shares of the peaks that makers state:"
    )
    rows = [
        [name, f"{peak}", *(f"{_hours(tflop, peak, share):,.1f}" for share in SHARES)] for name, peak in PEAKS.items()
    ]
    return ["## Computing", said, _table(["device-hours", "TFLOP/s", *(f"{share:.0%}" for share in SHARES)], rows)]


def _reading(facts: Mapping, windows_per_tflop: float) -> list[str]:
    per_core, devices = facts["input"], facts["devices"]
    largest = max(data["bytes"] / data["hours"] for data in facts["storage"]) * WINDOW_S / 3600
    rows = []
    for name, peak in PEAKS.items():
        rate = USUAL * peak * devices * windows_per_tflop
        rows.append([name, f"{rate:,.0f}", f"{rate * largest / 1e6:,.0f}", f"{math.ceil(rate / per_core)}"])
    said = (
        f"One core reads {per_core:,.0f} windows/s from compressed shards in the page cache. {devices} devices at "
        f"{USUAL:.0%} of their peak ask, over all hosts, for:"
    )
    return ["## Reading", said, _table(["devices", "windows/s", "MB/s from disk", "cores that read"], rows)]


def _failures(facts: Mapping, tflop: float) -> list[str]:
    saved, lost, devices = facts["checkpoint"], facts["restart"], facts["devices"]
    between = BETWEEN_FAILURES_H / devices
    every = math.sqrt(2 * saved["call_s"] * between * 3600)
    again = lost["ended_s"] + lost["under_way_s"]
    cadence = (
        f"A checkpoint has {saved['bytes'] / 1e6:,.0f} MB; three lie on disk, the newest two and the best. Saving "
        f"holds the loop up for {saved['call_s']:.2g} s and is on disk after {saved['saved_s']:.2g} s; restoring and "
        f"verifying takes {saved['restored_s']:.2g} s. With a failure in {between:,.0f} hours of {devices} devices "
        f"least is lost by saving every {every / 60:,.0f} minutes (the root of twice the cost times the time between "
        "failures; Young 1974)."
    )
    counted = ", ".join(f"{name} {_hours(tflop, peak) / BETWEEN_FAILURES_H:.2g}" for name, peak in PEAKS.items())
    expected = (
        f"One interruption in {BETWEEN_FAILURES_H:,.0f} device-hours (419 in 54 days of 16,384 GPUs, arXiv 2407.21783) "
        f"makes, over the whole run at {USUAL:.0%} of the peak: {counted}. What each costs, with restarts as measured:"
    )
    rows = [
        ["SIGTERM: maintenance, preemption, time limit", "0 s, it is saved first", f"{again:.0f} s"],
        ["a process or host dies", f"{every / 2:,.0f} s on average", f"{again:.0f} s"],
        [
            "and the newest checkpoint is damaged",
            f"{1.5 * every:,.0f} s on average",
            f"{again + saved['restored_s']:.0f} s",
        ],
        ["a damaged shard, a full disk", "what came after the last checkpoint", "until it is mended by hand"],
    ]
    table = _table(["what happens", "computing lost", "until it trains again"], rows)
    return ["## Checkpoints", cadence, "## Failures", expected, table]
