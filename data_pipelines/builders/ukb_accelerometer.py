"""TFDS builder of UK Biobank's accelerometer recordings, which no one may download: a week at the wrist, unlabelled."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.builders import unlabelled_builder
from data_pipelines.readers.ukbiobank import CHANNELS

LAYOUT = "ukbiobank"  # of `sources.LAYOUTS`
RATE_HZ = 30  # what wrist encoders are pre-trained on; a week at the 100 Hz recorded takes three times as much
ACCESS = "on application to UK Biobank, for approved projects, field 90001"
CITATION = """@article{doherty2017ukbiobank,
  title = {Large Scale Population Assessment of Physical Activity Using Wrist Worn Accelerometers: The {UK}
    {Biobank} Study},
  author = {Doherty, Aiden and Jackson, Dan and Hammerla, Nils and Pl{\\"o}tz, Thomas and Olivier, Patrick and Granat,
    Malcolm H. and White, Tom and {van Hees}, Vincent T. and Trenell, Michael I. and Owen, Christoper G. and others},
  journal = {PLOS ONE}, volume = {12}, number = {2}, pages = {e0169649}, year = {2017},
  doi = {10.1371/journal.pone.0169649}
}"""


class UkbAccelerometer(tfds.core.GeneratorBasedBuilder):
    """UK Biobank's weeks at 30 Hz: one example per recording, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The .cwa or csv files of the folder given by hand, brought to 30 Hz."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Access is {ACCESS}: put <eid>_90001_0_0.cwa (or .csv.gz) into the manual folder."

    def _info(self) -> tfds.core.DatasetInfo:
        return unlabelled_builder.info(
            self,
            description="Acceleration at the dominant wrist (Axivity AX3, 100 Hz as a rule, brought to 30 Hz) of "
            "adults in free living, a week each, unlabelled.",
            homepage="https://biobank.ndph.ox.ac.uk/showcase/field.cgi?id=90001",
            citation=CITATION,
            access=ACCESS,
            channels=CHANNELS,
            rate_hz=RATE_HZ,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        recordings = unlabelled_builder.given_recordings(dl_manager, LAYOUT, f"{self.name}: {ACCESS}")
        return {"train": self._generate_examples(recordings)}

    def _generate_examples(self, recordings):
        yield from unlabelled_builder.examples(recordings, RATE_HZ)
