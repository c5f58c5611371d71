"""`selfpab <job> [flags]`, the same as `python -m launch.<job> [flags]`; only the called job's module is imported."""

import sys
from collections.abc import Callable

from launch.arguments import nearest


def _prepare(argv: list[str]) -> int:
    from launch import prepare

    return prepare.main(argv)


def _pretrain(argv: list[str]) -> int:
    from launch import pretrain

    return pretrain.main(argv)


def _local(argv: list[str]) -> int:
    from launch import local

    return local.main(argv)


def _probe(argv: list[str]) -> int:
    from launch import probe

    return probe.main(argv)


def _compare(argv: list[str]) -> int:
    from launch import compare

    return compare.main(argv)


def _tables(argv: list[str]) -> int:
    from launch import tables

    return tables.main(argv)


def _features(argv: list[str]) -> int:
    from launch import features

    return features.main(argv)


def _import(argv: list[str]) -> int:
    from launch import import_weights

    return import_weights.main(argv)


def _export(argv: list[str]) -> int:
    from launch import export

    return export.main(argv)


def _bench(argv: list[str]) -> int:
    from launch import bench

    return bench.main(argv)


def _plan(argv: list[str]) -> int:
    from launch import plan

    return plan.main(argv)


def _demo(argv: list[str]) -> int:
    from launch import demo

    return demo.main(argv)


JOBS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "prepare": (_prepare, "cut recordings into windows on disk, with statistics and checksums"),
    "pretrain": (_pretrain, "pre-train an encoder on prepared windows"),
    "local": (_local, "run several processes of a job on this machine, as if on several hosts"),
    "probe": (_probe, "train and test activity classifiers over subjects; writes the results table"),
    "compare": (_compare, "pre-train with several losses, probe at several checkpoints, set loss against score"),
    "tables": (_tables, "every compared method on the labelled data sets, beside the article's numbers"),
    "features": (_features, "write the embeddings of one recording, token by token"),
    "import": (_import, "make a run folder of weights trained in PyTorch, such as the published ones"),
    "export": (_export, "write an encoder or classifier for PyTorch or ONNX"),
    "bench": (_bench, "measure training steps by mesh and batch, the input, checkpoints; much of it beside PyTorch"),
    "plan": (_plan, "what pre-training on so many hours takes, worked out from such measurements"),
    "demo": (_demo, "prepare, pretrain and probe in one go, on synthetic or on given recordings"),
}


def usage() -> str:
    """The jobs, one line each."""
    lines = [f"  {job:<10}{summary}" for job, (_, summary) in JOBS.items()]
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
    return JOBS[job][0](rest)


if __name__ == "__main__":
    raise SystemExit(main())
