"""The arguments that the published PyTorch class is made from, and ours: read from a checkpoint, written to one."""

from collections.abc import Mapping
from typing import Any

# Published name: ours.
SIZES = {
    "input_dim": "in_features",
    "output_dim": "out_features",
    "d_model": "d_model",
    "nhead": "heads",
    "dim_feedforward": "ff",
    "n_encoder_layers": "layers",
}
# What the published class can do besides; the only values for which it is the network that we have.
FIXED = {
    "positional_encoding": "AbsolutePositionalEncoding",
    "seq_operation": None,
    "output_activation": None,
    "n_prediction_head_layers": 1,
    "dim_prediction_head": None,
    "loss": "maskedL1",
    "metrics": None,
    "optimizer": "AdamW",
    "lr_scheduler": "LinearWUSchedule",
}
NETWORK = ("positional_encoding", "seq_operation", "output_activation", "n_prediction_head_layers")


def from_published(arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Our sizes by name, and "dropout", "sensors", "magnitude", as far as the arguments state them; not `checked`.

    Raises:
      ValueError: a value that asks for another network than ours.
    """
    for name in NETWORK:
        found = arguments.get(name, FIXED[name])
        if found != FIXED[name]:
            raise ValueError(f"{where}: hyper-parameter {name} is {found!r}, expected {FIXED[name]!r}: another network")
    # The last two are ours; the published models have linear magnitudes and tell the sensors by their width.
    names = SIZES | {name: name for name in ("dropout", "sensors", "magnitude")}
    return {ours: arguments[theirs] for theirs, ours in names.items() if theirs in arguments}


def checked(stated: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What `from_published` or an exported config.json states, without what is None.

    Raises:
      ValueError: a value of a wrong type or out of range.
    """
    expected = {
        "dropout": ("a rate from 0 to below 1", lambda v: isinstance(v, (int, float)) and 0 <= v < 1),
        "sensors": ("back, thigh or both", lambda v: v in (["back"], ["thigh"], ["back", "thigh"])),
        "magnitude": ("linear or log", lambda v: v in ("linear", "log")),
    }
    size = ("a number from 1 on", lambda v: isinstance(v, int) and not isinstance(v, bool) and v > 0)
    stated = {name: value for name, value in stated.items() if value is not None}
    for name, value in stated.items():
        what, is_right = expected.get(name, size)
        if not is_right(value):
            raise ValueError(f"{where}: {name} is {value!r} by its hyper-parameters, expected {what}")
    return stated


def to_published(config: Mapping[str, Any], windows: int | None) -> dict[str, Any]:
    """The arguments of a run of ours.

    Args:
      config: the run's.
      windows: it was trained on; None where that is not known, and the number of epochs with it. Of an import without
        arguments of its own the published training is stated, since the class cannot do without.
    """
    model, optimizer, steps = config["model"], config["optimizer"], config["train"]["steps"]
    batch = config["data"]["batch_size"]
    epochs = max(1, round(steps * batch / windows)) if windows else 1
    sizes = {theirs: model[ours] for theirs, ours in SIZES.items()}
    published = {
        "dropout": model["dropout"],
        "epochs": epochs,
        "_epochs": epochs,
        "total_step_count": steps,
        "batch_size": batch,
        "lr": str(optimizer["learning_rate"]),  # strings in the published checkpoint too
        "weight_decay": str(optimizer["weight_decay"]),
        "sensors": list(config["sensors"]),
        "magnitude": config["magnitude"],
    }
    return FIXED | sizes | published
