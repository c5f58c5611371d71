"""TFDS builder of RealWorld (2016): 8 activities of 15 people outdoors and at home, with phones."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.realworld import ACTIVITIES
from selfpab_jax.signals.stft import CHANNELS

URL = "http://wifo5-14.informatik.uni-mannheim.de/sensor/dataset/realworld2016/realworld2016_dataset.zip"
HOMEPAGE = "https://www.uni-mannheim.de/dws/research/projects/activity-recognition/dataset/dataset-realworld/"
CITATION = """@inproceedings{sztyler2016realworld,
  title = {On-body Localization of Wearable Devices: An Investigation of Position-Aware Activity Recognition},
  author = {Sztyler, Timo and Stuckenschmidt, Heiner},
  booktitle = {2016 IEEE International Conference on Pervasive Computing and Communications (PerCom)},
  pages = {1--9}, year = {2016}, doi = {10.1109/PERCOM.2016.7456521}
}"""


class Realworld(tfds.core.GeneratorBasedBuilder):
    """RealWorld on one grid of 50 Hz: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published recordings of 15 subjects, waist and thigh in HUNT4's axes."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Waist (called back) and thigh acceleration of Android phones (nominally 50 Hz, interpolated "
            "to one grid) of people aged 16 to 62, who did each of 8 activities for about 10 minutes.",
            homepage=HOMEPAGE,
            citation=CITATION,
            licence="for research, see homepage",
            activities=ACTIVITIES,
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder))
