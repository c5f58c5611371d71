"""TFDS builder of Capture-24: a day at the wrist of each of 151 people in free living."""

from pathlib import Path

import tensorflow_datasets as tfds

from data_pipelines import sources
from data_pipelines.builders import download, labelled_builder
from data_pipelines.readers import capture24

URL = "https://ora.ox.ac.uk/objects/uuid:99d7c092-d865-4a19-b096-cc16440cd001/files/rpr76f381b"  # 6.9 GB
CITATION = """@misc{chanchang2021capture24,
  title = {Capture-24: Activity tracker dataset for human activity recognition},
  author = {{Chan Chang}, Shing and Walmsley, Rosemary and Gershuny, Jonathan and Harms, Teresa and Thomas, Emma
    and Milton, Karen and Kelly, Paul and Foster, Charlie and Wong, Alan and Gray, Natasha and Haque, Shameema
    and Hollowell, Sven and Doherty, Aiden},
  publisher = {University of Oxford}, year = {2021}, doi = {10.5287/bodleian:NGx0JOMP5}
}
@article{chan2024capture24,
  title = {{CAPTURE-24}: A large dataset of wrist-worn activity tracker data collected in the wild for human
    activity recognition},
  author = {Chan, Shing and Hang, Yuan and Tong, Catherine and Acquah, Aidan and Schonfeldt, Abram and Gershuny,
    Jonathan and Doherty, Aiden},
  journal = {Scientific Data}, volume = {11}, pages = {1135}, year = {2024}, doi = {10.1038/s41597-024-03960-3}
}"""


class Capture24(tfds.core.GeneratorBasedBuilder):
    """Capture-24 at its 100 Hz: one example per subject, gaps left in, the benchmark's splits "train" and "test".

    Labels are codes of the annotations; the metadata hold every label set, from annotation to label.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The published recordings of 151 subjects, P001 to P100 in train, the others in test."}
    code_path = Path(__file__)  # TFDS finds it by a package, importlib_resources, that it does not depend on
    MANUAL_DOWNLOAD_INSTRUCTIONS = labelled_builder.MANUAL

    def _info(self) -> tfds.core.DatasetInfo:
        return labelled_builder.info(
            self,
            description="Acceleration at the dominant wrist (Axivity AX3, 100 Hz) of adults in free living, about a "
            "day each, annotated from wearable cameras and sleep diaries with some 200 annotations. Rows without "
            "acceleration are gaps.",
            homepage="https://ora.ox.ac.uk/objects/uuid:99d7c092-d865-4a19-b096-cc16440cd001",
            citation=CITATION,
            licence="CC BY 4.0",
            activities={},  # those of the dictionary, once it is there
            channels=capture24.CHANNELS,
            rate_hz=capture24.RATE_HZ,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        found = sources.find(self.name, download.source_folder(dl_manager, URL))
        paths = {source.name: source.path for source in found}
        sets = capture24.label_sets(found[0].path.parent)
        annotations = capture24.activities_of(sets[capture24.ANNOTATION])
        self.info.metadata.update(
            activities={str(code): name for code, name in annotations.items()},
            label_sets=sets,
            label_set=capture24.LABEL_SET,
        )
        splits = zip(("train", "test"), capture24.benchmark_split(paths), strict=True)
        # TFDS has no empty splits.
        return {split: self._generate_examples([paths[s] for s in some]) for split, some in splits if some}

    def _generate_examples(self, paths):
        recordings = (capture24.read(path, capture24.ANNOTATION) for path in paths)
        yield from labelled_builder.examples(recordings, rate_hz=capture24.RATE_HZ)
