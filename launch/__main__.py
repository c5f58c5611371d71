"""`selfpab <job> [flags]`, the same as `python -m launch.<job> [flags]`; only the called job's module is imported."""

import sys
from collections.abc import Callable

from launch.arguments import nearest

JOBS = {
    "prepare": "cut recordings into windows on disk, with statistics and checksums",
    "ingest": "cut raw files of wearable sensors into windows, as prepare does recordings",
    "verify": "read every file of a prepared folder again and compare it with its checksum",
    "describe": "what a prepared folder holds: hours, subjects, what was left out and why",
    "pretrain": "pre-train an encoder on prepared windows",
    "local": "run several processes of a job on this machine, as if on several hosts",
    "probe": "train and test activity classifiers over subjects; writes the results table",
    "compare": "pre-train with several losses, probe at several checkpoints, set loss against score",
    "tables": "every compared method on the labelled data sets, beside the article's numbers",
    "features": "write the embeddings of one recording, token by token",
    "import": "make a run folder of weights trained in PyTorch, such as the published ones",
    "export": "write an encoder or classifier for PyTorch or ONNX",
    "bench": "measure training steps by mesh and batch, the input, checkpoints; much of it beside PyTorch",
    "plan": "what pre-training on so many hours takes, worked out from such measurements",
    "demo": "prepare, pretrain and probe in one go, on synthetic or on given recordings",
}


def _main_of(job: str) -> Callable[[list[str]], int]:
    """What runs the job, imported only now: some jobs need seconds for that."""
    match job:
        case "prepare":
            from launch.prepare import main
        case "ingest":
            from launch.ingest import main
        case "verify":
            from launch.verify import main
        case "describe":
            from launch.describe import main
        case "pretrain":
            from launch.pretrain import main
        case "local":
            from launch.local import main
        case "probe":
            from launch.probe import main
        case "compare":
            from launch.compare import main
        case "tables":
            from launch.tables import main
        case "features":
            from launch.features import main
        case "import":
            from launch.import_weights import main
        case "export":
            from launch.export import main
        case "bench":
            from launch.bench import main
        case "plan":
            from launch.plan import main
        case "demo":
            from launch.demo import main
    return main


def usage() -> str:
    """The jobs, one line each."""
    lines = [f"  {job:<10}{summary}" for job, summary in JOBS.items()]
    return "\n".join(["usage: selfpab <job> [flags]\n\njobs:", *lines, "\n`selfpab <job> --help` lists its flags."])


def main(argv: list[str] | None = None) -> int:
    """Exit code of the named job; 2 where there is no such job."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(usage(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    job, rest = argv[0], argv[1:]
    if job not in JOBS:
        close = nearest(job, list(JOBS)) or f"; the jobs are {', '.join(JOBS)}"
        print(f"selfpab: error: there is no job {job!r}{close}", file=sys.stderr)
        return 2
    return _main_of(job)(rest)


if __name__ == "__main__":
    raise SystemExit(main())
