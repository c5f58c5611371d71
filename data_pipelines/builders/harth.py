"""TFDS builder of HARTH: 12 activities of working-age adults in free living."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.har_csv import ACTIVITIES
from selfpab_jax.signals.stft import CHANNELS

URL = "https://archive.ics.uci.edu/static/public/779/harth.zip"
CITATION = """@article{logacjov2021harth,
  title = {{HARTH}: A Human Activity Recognition Dataset for Machine Learning},
  author = {Logacjov, Aleksej and Bach, Kerstin and Kongsvold, Atle and B{\\aa}rdstu, Hilde Bremseth and
    Mork, Paul Jarle},
  journal = {Sensors}, volume = {21}, number = {23}, pages = {7853}, year = {2021}, doi = {10.3390/s21237853}
}"""


class Harth(tfds.core.GeneratorBasedBuilder):
    """HARTH as recorded: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES = {"1.2.0": "The published v1.2, whose labels include inactive cycling (130 and 140)."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Lower-back and right-thigh acceleration (Axivity AX3, 50 Hz) of adults in free "
            "living, annotated from video with 12 activities.",
            homepage="https://archive.ics.uci.edu/dataset/779/harth",
            citation=CITATION,
            licence="CC BY 4.0",
            activities=ACTIVITIES[self.name],
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder))
