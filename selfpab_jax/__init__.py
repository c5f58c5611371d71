"""SelfPAB and its relatives in JAX: self-supervised encoders for body-worn accelerometers."""

__version__ = "0.1.0"
