"""The Apache Beam engine: people's file names go through the pipeline, never their windows.

Workers read and write the files themselves, so that all of them must see the input and the output folder under the
same paths. What runs the pipeline (DirectRunner, PortableRunner, FlinkRunner, DataflowRunner) and how is said by
Beam's own options.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from data_pipelines.folder import FAILED
from data_pipelines.ingest.one import Outcome, attempt
from data_pipelines.ingest.people import Person
from data_pipelines.ingest.run import Engine
from data_pipelines.ingest.settings import IngestSettings
from data_pipelines.shards import read_sidecar, sidecar_path

RUNNER = "DirectRunner"  # Beam's own choice would fetch a program from the network


def beam(options: Sequence[str]) -> Engine:
    """The engine of an Apache Beam pipeline.

    Args:
      options: Beam's, such as --runner=FlinkRunner or --direct_num_workers=4.

    Raises:
      ValueError: Beam is not installed, or knows no such runner.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ModuleNotFoundError as error:
        raise ValueError(
            "Apache Beam is not installed: pip install -e '.[beam]' in an environment of its own, or --engine local"
        ) from error
    named = any(option.split("=")[0] == "--runner" for option in options)
    given = PipelineOptions([*options] if named else [f"--runner={RUNNER}", *options])

    def engine(people: Sequence[Person], settings: IngestSettings, out: Path) -> Iterator[Outcome]:
        before = {person.name: _changed(out, person.name) for person in people}
        try:
            with apache_beam.Pipeline(options=given) as pipeline:
                (
                    pipeline
                    | "people" >> apache_beam.Create(list(people))
                    | "spread" >> apache_beam.Reshuffle()
                    | "ingest" >> apache_beam.Map(partial(attempt, settings=settings, out=out))
                )
        except RuntimeError as error:  # a worker's exception comes as text
            if KeyboardInterrupt.__name__ in str(error):
                raise KeyboardInterrupt from error
            raise OSError(f"the pipeline of {given.get_all_options()['runner']} failed: {error}") from error
        for person in people:  # what the workers left in the folder, as nothing else comes back from them
            note = read_sidecar(out / FAILED / f"{person.name}.json")
            sidecar = None if note else read_sidecar(sidecar_path(out, person.name))
            if sidecar:
                written = _changed(out, person.name) != before[person.name]
                yield Outcome(person.name, written, sidecar["entry"]["windows"])
            else:
                yield Outcome(person.name, False, 0, note["reason"] if note else "no result came from a worker")

    return engine


def _changed(out: Path, name: str) -> int | None:
    """When the sidecar was written, None if it is not there."""
    path = sidecar_path(out, name)
    return path.stat().st_mtime_ns if path.exists() else None
