"""TFDS builder of Opportunity: standing, walking, sitting and lying in a kitchen full of sensors."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers.opportunity import ACTIVITIES
from selfpab_jax.signals.stft import CHANNELS

URL = "https://archive.ics.uci.edu/static/public/226/opportunity+activity+recognition.zip"
CITATION = """@inproceedings{roggen2010opportunity,
  title = {Collecting complex activity datasets in highly rich networked sensor environments},
  author = {Roggen, Daniel and Calatroni, Alberto and Rossi, Mirco and Holleczek, Thomas and F{\\"o}rster, Kilian
    and Tr{\\"o}ster, Gerhard and Lukowicz, Paul and Bannach, David and Pirkl, Gerald and Ferscha, Alois and others},
  booktitle = {Seventh International Conference on Networked Sensing Systems (INSS)},
  pages = {233--240}, year = {2010}, doi = {10.1109/INSS.2010.5573462}
}
@article{chavarriaga2013opportunity,
  title = {The {Opportunity} challenge: A benchmark database for on-body sensor-based activity recognition},
  author = {Chavarriaga, Ricardo and Sagha, Hesam and Calatroni, Alberto and Digumarti, Sundara Tejaswi and
    Tr{\\"o}ster, Gerhard and Mill{\\'a}n, Jos{\\'e} del R. and Roggen, Daniel},
  journal = {Pattern Recognition Letters}, volume = {34}, number = {15}, pages = {2033--2042}, year = {2013},
  doi = {10.1016/j.patrec.2012.12.014}
}"""


class Opportunity(tfds.core.GeneratorBasedBuilder):
    """Opportunity's track Locomotion at 50 Hz: one example per subject, all in the split "train", gaps left in."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published sessions of 4 subjects, HIP and RKN^ in HUNT4's axes."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Hip and right-knee acceleration (wireless sensors HIP and RKN^, 30 Hz brought to 50 Hz; "
            "called back and thigh) of adults in a kitchen, five free runs and one drill each, annotated with 4 modes "
            "of locomotion. Up to 0.5 s of lost samples are interpolated; sessions begin at full hours of 1970-01-01.",
            homepage="https://archive.ics.uci.edu/dataset/226/opportunity+activity+recognition",
            citation=CITATION,
            licence="CC BY 4.0",
            activities=ACTIVITIES,
            channels=CHANNELS,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        return {"train": self._generate_examples(download.source_folder(dl_manager, URL))}

    def _generate_examples(self, folder):
        yield from labelled_builder.examples(sources.recordings(self.name, folder), labelled_builder.WIDE_SCALE_G)
