"""TFDS builders of the data sets: build them, read the labelled ones. Importing this imports TFDS."""

from data_pipelines.builders.store import BUILDERS, UNLABELLED, build, each_from_tfds, labelled_from_tfds

__all__ = ["BUILDERS", "UNLABELLED", "build", "each_from_tfds", "labelled_from_tfds"]
