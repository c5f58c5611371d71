"""TFDS builder of HUNT4's accelerometer recordings, which no one may download: back and thigh, unlabelled."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines.builders import unlabelled_builder
from selfpab_jax.signals.stft import CHANNELS, SAMPLE_RATE_HZ

ACCESS = "on application to the HUNT Research Centre, for approved projects"
CITATION = """@article{asvold2023hunt,
  title = {Cohort Profile Update: The {HUNT} Study, {Norway}},
  author = {{\\AA}svold, Bj{\\o}rn Olav and Langhammer, Arnulf and Rehn, Tommy Aune and Kjelvik, Grete and
    Gr{\\o}ntvedt, Trond Viggo and S{\\o}rgjerd, Elin Pettersen and Fenstad, J{\\o}rn S{\\o}berg and others},
  journal = {International Journal of Epidemiology}, volume = {52}, number = {1}, pages = {e80--e91}, year = {2023},
  doi = {10.1093/ije/dyac095}
}"""


class Hunt4(tfds.core.GeneratorBasedBuilder):
    """HUNT4 as snippets of 5 minutes an hour: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The snippets of the folder given by hand."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Access is {ACCESS}: put <subject>/<YYYY-MM-DD_HH>.npz into the manual folder."

    def _info(self) -> tfds.core.DatasetInfo:
        return unlabelled_builder.info(
            self,
            description="Lower-back and right-thigh acceleration (Axivity AX3, 50 Hz) of adults in free living, 5 "
            "minutes of each hour, unlabelled.",
            homepage="https://www.ntnu.edu/hunt",
            citation=CITATION,
            access=ACCESS,
            channels=CHANNELS,
            rate_hz=SAMPLE_RATE_HZ,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        recordings = unlabelled_builder.given_recordings(dl_manager, self.name, f"{self.name}: {ACCESS}")
        return {"train": self._generate_examples(recordings)}

    def _generate_examples(self, recordings):
        yield from unlabelled_builder.examples(recordings, SAMPLE_RATE_HZ)
