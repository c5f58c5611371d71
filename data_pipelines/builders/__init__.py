"""TFDS builders of the public labelled data sets: build and read them. Importing this imports TFDS."""

from data_pipelines.builders.store import BUILDERS, build, labelled_from_tfds

__all__ = ["BUILDERS", "build", "labelled_from_tfds"]
