"""TFDS builder of PAMAP2: 12 activities of a protocol, everyday life and sports."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.pamap2 import ACTIVITIES
from selfpab_jax.signals.stft import CHANNELS

# Of what the archive holds, an archive itself is all but a read-me.
URL = "https://archive.ics.uci.edu/static/public/231/pamap2+physical+activity+monitoring.zip"
CITATION = """@inproceedings{reiss2012pamap2,
  title = {Introducing a New Benchmarked Dataset for Activity Monitoring},
  author = {Reiss, Attila and Stricker, Didier},
  booktitle = {16th International Symposium on Wearable Computers (ISWC)},
  pages = {108--109}, year = {2012}, doi = {10.1109/ISWC.2012.13}
}"""


class Pamap2(tfds.core.GeneratorBasedBuilder):
    """PAMAP2's protocol at 50 Hz: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published protocol of 9 subjects, chest and ankle in HUNT4's axes."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Chest and ankle acceleration (Colibri wireless, 100 Hz brought to 50 Hz; called back and "
            "thigh) of adults who follow a protocol of 12 activities. Up to 0.5 s of lost samples are interpolated.",
            homepage="https://archive.ics.uci.edu/dataset/231/pamap2+physical+activity+monitoring",
            citation=CITATION,
            licence="CC BY 4.0",
            activities=ACTIVITIES,
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder), labelled_builder.WIDE_SCALE_G)
