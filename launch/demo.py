"""The whole road in one command: recordings -> windows -> pre-trained encoder -> table over subjects."""

import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from launch.command_line import Parser, run_job

PRETRAIN_CONFIG = "configs/selfpab.py:demo"
PROBE_CONFIG = "configs/probe.py:demo"


def main(argv: list[str] | None = None) -> int:
    """Exit code: that of the first stage that fails, else 0."""
    return run_job("demo", partial(_demo, argv))


def _demo(argv: list[str] | None) -> int:
    parser = Parser("demo", "Prepares recordings, pre-trains a small encoder on them and probes it.")
    layout = "csv files in the HARTH / HAR70+ layout (default: a synthetic cohort)"
    parser.add_argument("--data", metavar="DIR", type=Path, help=layout)
    results = "folder for all results (default: %(default)s)"
    parser.add_argument("--workdir", metavar="DIR", type=Path, default=Path("runs/demo"), help=results)
    flags = parser.parse_args(argv)
    if flags.data and not flags.data.is_dir():
        raise FileNotFoundError(f"--data: found no folder {flags.data}")
    started = time.monotonic()
    for number, (job, arguments) in enumerate(stages(flags.data, flags.workdir), start=1):
        print(f"[{number}/3] selfpab {job} {' '.join(arguments)}", flush=True)
        stage_started = time.monotonic()
        code = _run([sys.executable, "-m", f"launch.{job}", *arguments])
        seconds = time.monotonic() - stage_started
        if code:
            print(f"selfpab demo: {job} stopped with exit code {code} after {seconds:.0f} s", file=sys.stderr)
            # A child ended by signal n has code -n; an exit status holds 128 + n, as shells report it.
            return code if code > 0 else 128 - code
        print(f"[{number}/3] {job}: {seconds:.0f} s", flush=True)
    print(f"demo: {time.monotonic() - started:.0f} s in all; everything is in {flags.workdir}")
    return 0


def _run(command: list[str]) -> int:
    """Exit code of a child process that decides for itself how it stops: training saves a checkpoint first.

    SIGTERM is passed on to the child; SIGINT reaches it from the terminal and must not end us before it.
    """
    child = subprocess.Popen(command)
    before = (
        signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number)),
        signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])


def stages(data: Path | None, workdir: Path) -> list[tuple[str, list[str]]]:
    """(job, its arguments) of the three stages; a stage with a run folder already is resumed."""
    prepared, pretrained, probed = workdir / "prepared", workdir / "pretrain", workdir / "probe"
    source = ["--layout=harth", f"--input={data}"] if data else ["--layout=synthetic", "--subjects=8", "--hours=0.75"]
    return [
        ("prepare", [*source, f"--out={prepared}"]),
        (
            "pretrain",
            [
                f"--config={PRETRAIN_CONFIG}",
                f"--config.data.dir={prepared}",
                f"--workdir={pretrained}",
                *_resume(pretrained),
            ],
        ),
        (
            "probe",
            [
                f"--config={PROBE_CONFIG}",
                f"--config.data.dir={prepared}",
                f"--config.encoder={pretrained}",
                f"--workdir={probed}",
                *_resume(probed),
            ],
        ),
    ]


def _resume(run: Path) -> list[str]:
    """The flag that lets a job go on in a run folder that has been begun."""
    return ["--resume"] if (run / "config.json").exists() else []


if __name__ == "__main__":
    raise SystemExit(main())
