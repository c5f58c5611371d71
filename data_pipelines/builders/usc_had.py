"""TFDS builder of USC-HAD: 12 low-level activities, five trials each, at the hip."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.usc_had import ACTIVITIES, CHANNELS

URL = "http://sipi.usc.edu/had/USC-HAD.zip"
CITATION = """@inproceedings{zhang2012uschad,
  title = {{USC-HAD}: A Daily Activity Dataset for Ubiquitous Activity Recognition Using Wearable Sensors},
  author = {Zhang, Mi and Sawchuk, Alexander A.},
  booktitle = {ACM Conference on Ubiquitous Computing (UbiComp), Workshop on Situation, Activity and Goal Awareness
    (SAGAware)},
  year = {2012}, doi = {10.1145/2370216.2370438}
}"""


class UscHad(tfds.core.GeneratorBasedBuilder):
    """USC-HAD at 50 Hz: one example per subject, all in the split "train", 60 s between two trials."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published trials of 14 subjects in HUNT4's axes."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Acceleration at the front of the right hip (MotionNode, 100 Hz brought to 50 Hz; called "
            "thigh) of adults in trials of 12 activities.",
            homepage="https://sipi.usc.edu/had/",
            citation=CITATION,
            licence="research use, see homepage",
            activities=ACTIVITIES,
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder))
