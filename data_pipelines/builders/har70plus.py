"""TFDS builder of HAR70+: 7 activities of people over 70, some with walking aids."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.har_csv import ACTIVITIES
from selfpab_jax.signals.stft import CHANNELS

URL = "https://archive.ics.uci.edu/static/public/780/har70.zip"
CITATION = """@article{ustad2023har70,
  title = {Validation of an Activity Type Recognition Model Classifying Daily Physical Behavior in Older
    Adults: The {HAR70+} Model},
  author = {Ustad, Astrid and Logacjov, Aleksej and Trolleb{\\o}, Stine {\\O}verengen and Thingstad, Pernille
    and Vereijken, Beatrix and Bach, Kerstin and Maroni, Nina Skj{\\ae}ret},
  journal = {Sensors}, volume = {23}, number = {5}, pages = {2368}, year = {2023}, doi = {10.3390/s23052368}
}"""


class Har70plus(tfds.core.GeneratorBasedBuilder):
    """HAR70+ as recorded: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published recordings of 18 subjects."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Lower-back and right-thigh acceleration (Axivity AX3, 50 Hz) of people aged 70 to "
            "95, annotated from video with 7 activities.",
            homepage="https://archive.ics.uci.edu/dataset/780/har70",
            citation=CITATION,
            licence="CC BY 4.0",
            activities=ACTIVITIES[self.name],
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder))
