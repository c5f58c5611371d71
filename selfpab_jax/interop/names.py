"""Parameter names here and in the published PyTorch code: one table, read in both directions.

Sizes that the tensors decide are read off them; what they cannot tell (the number of attention heads) is not guessed.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from selfpab_jax.models.encoder import EncoderConfig, positional_encoding

Tree = dict
POSITIONS = "emb.pos_encoder.pe"  # a buffer [1, 10000, D] of the published class; computed here
MAX_POSITIONS = 10_000
# The published code computes its sinusoids in float32: an angle of 600 is right to 3e-5, one of 10,000 to 5e-4.
POSITION_TOLERANCE = 2e-3
LISTED = 12  # names shown of each kind of problem


class Row(NamedTuple):
    """One parameter: PyTorch's name, our path, its shape in PyTorch as names of sizes.

    A matrix is [out, in] there and [in, out] here. In both, the fused projection holds queries, keys and values in
    this order, as thirds of its output.
    """

    torch: str
    ours: str
    shape: tuple[str, ...]


EMBEDDING = (
    Row("emb.lin_proj_layer.weight", "embed/kernel", ("d_model", "in_features")),
    Row("emb.lin_proj_layer.bias", "embed/bias", ("d_model",)),
)
HEAD = (
    Row("prediction_head.mlp.out_layer.weight", "head/kernel", ("out_features", "d_model")),
    Row("prediction_head.mlp.out_layer.bias", "head/bias", ("out_features",)),
)
BLOCK = "transformer_encoder.layers."
IN_BLOCK = (
    Row("self_attn.in_proj_weight", "attn/qkv/kernel", ("3 d_model", "d_model")),
    Row("self_attn.in_proj_bias", "attn/qkv/bias", ("3 d_model",)),
    Row("self_attn.out_proj.weight", "attn/out/kernel", ("d_model", "d_model")),
    Row("self_attn.out_proj.bias", "attn/out/bias", ("d_model",)),
    Row("linear1.weight", "linear1/kernel", ("ff", "d_model")),
    Row("linear1.bias", "linear1/bias", ("ff",)),
    Row("linear2.weight", "linear2/kernel", ("d_model", "ff")),
    Row("linear2.bias", "linear2/bias", ("d_model",)),
    Row("norm1.weight", "norm1/scale", ("d_model",)),
    Row("norm1.bias", "norm1/bias", ("d_model",)),
    Row("norm2.weight", "norm2/scale", ("d_model",)),
    Row("norm2.bias", "norm2/bias", ("d_model",)),
)


def table(layers: int) -> Iterator[Row]:
    """The rows of an encoder with so many blocks, in the order of the published class."""
    yield from EMBEDDING
    for i in range(layers):
        for row in IN_BLOCK:
            yield Row(f"{BLOCK}{i}.{row.torch}", f"blocks/{i}/{row.ours}", row.shape)
    yield from HEAD


def to_torch(params: Tree) -> dict[str, np.ndarray]:
    """Our parameters, float32, under PyTorch's names and in its layout; without `POSITIONS`."""
    found = {}
    for row in table(len(params["blocks"])):
        value = params
        for key in row.ours.split("/"):
            value = value[int(key) if key.isdigit() else key]
        value = np.asarray(value)
        found[row.torch] = np.ascontiguousarray(value.T if len(row.shape) == 2 else value)
    return found


def positions(d_model: int) -> np.ndarray:
    """What the published class keeps as `POSITIONS`, float32 [1, 10000, D].

    The class itself rounds the angles to float32: with its own buffer the features of 5 minutes differ by 1e-5.
    """
    return positional_encoding(MAX_POSITIONS, d_model)[None]


def from_torch(
    tensors: Mapping[str, np.ndarray], stated: Mapping[str, int | None], where: str
) -> tuple[EncoderConfig, Tree]:
    """(sizes, our parameters) of tensors under PyTorch's names; nothing is left over on either side.

    Args:
      tensors: floating-point arrays; `POSITIONS` may be among them.
      stated: sizes by the names of `EncoderConfig` that something other than the tensors tells; `heads` must be there.
      where: the file, for the error.

    Raises:
      ValueError: one sentence with every missing, unknown and wrongly shaped tensor and every contradiction.
    """
    sizes = _sizes(tensors, where)
    if stated.get("heads") is None:
        raise ValueError(
            f"{where} does not tell the number of attention heads (its tensors are the same for any): add --heads "
            "(6 in the published models)"
        )
    rows = {row.torch: row for row in table(sizes["layers"])}
    problems = {
        "missing": [name for name in rows if name not in tensors],
        "not of this network": [name for name in tensors if name not in rows and name != POSITIONS],
        "wrongly shaped": [],
        "not finite": [],
        "contradicting": [
            f"{name} is {value} by the hyper-parameters or flags and {sizes[name]} by the tensors"
            for name, value in stated.items()
            if name in sizes and value is not None and value != sizes[name]
        ],
    }
    for name, row in rows.items():
        if name not in tensors:
            continue
        shape, expected = tensors[name].shape, tuple(_size(axis, sizes) for axis in row.shape)
        if shape != expected:
            remark = ", transposed" if shape == expected[::-1] else ""
            problems["wrongly shaped"].append(f"{name} is {shape}, expected {expected}{remark}")
        elif not np.isfinite(tensors[name]).all():
            problems["not finite"].append(name)
    if sizes["d_model"] % stated["heads"]:
        found = f"{stated['heads']} attention heads do not divide the width {sizes['d_model']}"
        problems["contradicting"].append(f"{found}, expected another --heads")
    problems["wrongly shaped"] += _wrong_positions(tensors.get(POSITIONS), sizes["d_model"])
    if any(problems.values()):
        listed = "; ".join(f"{kind}: {_some(names)}" for kind, names in problems.items() if names)
        raise ValueError(f"{where} does not hold the tensors of a SelfPAB encoder: {listed}")
    cfg = EncoderConfig(**sizes, heads=stated["heads"])
    params: Tree = {}
    for name, row in rows.items():
        *path, last = (int(key) if key.isdigit() else key for key in row.ours.split("/"))
        at = params
        for key in path:
            at = at.setdefault(key, {})
        value = tensors[name].astype(np.float32)
        at[last] = np.ascontiguousarray(value.T if len(row.shape) == 2 else value)
    return cfg, params


def _size(axis: str, sizes: Mapping[str, int]) -> int:
    times, _, name = axis.rpartition(" ")
    return int(times or 1) * sizes[name]


def _sizes(tensors: Mapping[str, np.ndarray], where: str) -> dict[str, int]:
    """Sizes as most vectors tell them: a vector cannot be transposed, and one wrong one is outvoted."""
    numbers = [name.removeprefix(BLOCK).split(".")[0] for name in tensors if name.startswith(BLOCK)]
    # A block's number must not decide how long the table gets.
    counted = {number for number in numbers if number.isdecimal() and len(number) < 5}
    layers = min(len(numbers), 1 + max(map(int, counted), default=-1))
    votes: dict[str, Counter] = {}
    for row in table(layers):
        if len(row.shape) == 1 and row.torch in tensors and tensors[row.torch].ndim == 1:
            times, _, name = row.shape[0].rpartition(" ")
            votes.setdefault(name, Counter())[len(tensors[row.torch]) // int(times or 1)] += 1
    sizes = {name: vote.most_common(1)[0][0] for name, vote in votes.items()} | {"layers": layers}
    embedding = tensors.get("emb.lin_proj_layer.weight")
    if embedding is not None and sizes.get("d_model"):
        sizes["in_features"] = embedding.size // sizes["d_model"]
    if unknown := [name for name in ("in_features", "out_features", "d_model", "ff", "layers") if not sizes.get(name)]:
        names = _some(list(tensors)) if tensors else "none"
        raise ValueError(
            f"{where} does not hold the tensors of a SelfPAB encoder, they do not tell {', '.join(unknown)}; found: "
            f"{names}; expected names such as emb.lin_proj_layer.weight and {BLOCK}0.linear1.bias"
        )
    return sizes


def _wrong_positions(found: np.ndarray | None, d_model: int) -> list[str]:
    """What is wrong with the buffer of positions: nothing where there is none or where it holds the sinusoids."""
    if found is None:
        return []
    if found.shape != (1, MAX_POSITIONS, d_model):  # another length would not load into the published class again
        return [f"{POSITIONS} is {found.shape}, expected (1, {MAX_POSITIONS}, {d_model})"]
    difference = np.abs(found - positions(d_model)).max()
    if not difference < POSITION_TOLERANCE:
        return [f"{POSITIONS} differs by {difference:.2g} from the sinusoids it should hold"]
    return []


def _some(names: list[str]) -> str:
    return ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
