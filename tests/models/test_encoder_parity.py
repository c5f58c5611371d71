"""The encoder against the same network written with torch.nn: values, gradients, padding, the published size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfpab_jax.models.encoder import EncoderConfig

LAYER, MODEL = 1e-5, 1e-4  # tolerances, relative to the largest value

OF_BLOCK = {  # torch's name -> ours; kernels are transposed
    "self_attn.in_proj_weight": ("attn", "qkv", "kernel"),
    "self_attn.in_proj_bias": ("attn", "qkv", "bias"),
    "self_attn.out_proj.weight": ("attn", "out", "kernel"),
    "self_attn.out_proj.bias": ("attn", "out", "bias"),
    "linear1.weight": ("linear1", "kernel"),
    "linear1.bias": ("linear1", "bias"),
    "linear2.weight": ("linear2", "kernel"),
    "linear2.bias": ("linear2", "bias"),
    "norm1.weight": ("norm1", "scale"),
    "norm1.bias": ("norm1", "bias"),
    "norm2.weight": ("norm2", "scale"),
    "norm2.bias": ("norm2", "bias"),
}


def name_table(cfg):
    table = {}
    for i in range(cfg.layers):
        table |= {f"blocks.layers.{i}.{name}": ("blocks", i, *path) for name, path in OF_BLOCK.items()}
    for part in ("embed", "head"):
        table |= {f"{part}.weight": (part, "kernel"), f"{part}.bias": (part, "bias")}
    return table


def in_torch_order(params, cfg):
    """Our nested parameters (or gradients) under torch's names and in its layout."""
    flat = {}
    for name, path in name_table(cfg).items():
        value = params
        for step in path:
            value = value[step]
        flat[name] = np.asarray(value).T if path[-1] == "kernel" else np.asarray(value)
    return flat


def torch_network(cfg, params, dtype):
    """(torch, network) with our parameters: Linear, positions, nn.TransformerEncoder, Linear."""
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(
        cfg.d_model, cfg.heads, cfg.ff, dropout=0.0, activation="relu", batch_first=True, norm_first=False
    )
    network = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Linear(cfg.in_features, cfg.d_model),
            "blocks": torch.nn.TransformerEncoder(layer, cfg.layers, enable_nested_tensor=False),
            "head": torch.nn.Linear(cfg.d_model, cfg.out_features),
        }
    )
    # Torch refuses a missing or left-over name; the copy keeps it from writing to read-only memory.
    network.load_state_dict({k: torch.tensor(v) for k, v in in_torch_order(params, cfg).items()})
    return torch, network.to(getattr(torch, dtype))


def torch_forward(torch, network, x, padding=None):
    """(embedding and block outputs, reconstruction); positions written out feature by feature."""
    frames, d_model = x.shape[1], network["embed"].out_features
    position = torch.zeros(frames, d_model, dtype=torch.float64)
    time = torch.arange(frames, dtype=torch.float64)
    for feature in range(d_model):
        angle = time * math.exp(-math.log(10_000.0) * (feature - feature % 2) / d_model)
        position[:, feature] = torch.cos(angle) if feature % 2 else torch.sin(angle)
    layers = [network["embed"](x) + position.to(x.dtype)]
    for block in network["blocks"].layers:
        layers.append(block(layers[-1], src_key_padding_mask=padding))
    return layers, network["head"](layers[-1])


@pytest.fixture(scope="module")
def theirs(ours, small):
    """(torch, network in float64 with the same parameters, input, its layers and reconstruction)."""
    torch, network = torch_network(small, ours[0], "float64")
    x = torch.tensor(ours[2]).double()
    with torch.no_grad():
        return torch, network, x, *torch_forward(torch, network, x)


def test_every_stage_equals_torch(ours, theirs, agree):
    params, run, x, *_ = ours
    torch, network, _, layers, reconstruction = theirs
    out = run(params, x, None, None)
    assert len(out["layers"]) == len(layers) == 3
    agree("embedding vs torch", out["layers"][0], layers[0], LAYER)
    for i in range(1, 3):
        agree(f"output of block {i} vs torch", out["layers"][i], layers[i], MODEL)
    agree("reconstruction vs torch", out["reconstruction"], reconstruction, MODEL)
    with torch.no_grad():  # nn.TransformerEncoder as a whole, on its fused path, is the same again
        whole = network["blocks"].eval()(layers[0])
    agree("last layer vs torch.nn.TransformerEncoder", out["layers"][-1], whole, MODEL)


def test_each_part_alone_equals_torch(ours, theirs, agree):
    """Fed with the reference's own input, so that earlier rounding does not count."""
    params, _, _, merge, model_state = ours
    *_, layers, reconstruction = theirs

    @jax.jit
    def parts(params, inputs):
        model = merge(params, model_state)
        return *(block(x) for block, x in zip(model.blocks, inputs, strict=False)), model.head(inputs[-1])

    *blocks, head = parts(params, [jnp.asarray(layer, jnp.float32) for layer in layers])
    for i, block in enumerate(blocks):
        agree(f"block {i + 1} alone vs torch", block, layers[i + 1], LAYER)
    agree("head alone vs torch", head, reconstruction, LAYER)


@pytest.mark.parametrize("padded", [False, True])
def test_gradient_of_a_step_equals_torch(padded, ours, theirs, loss_and_gradient, agree, valid, small):
    params, _, x, *_ = ours
    torch, network, same_x, *_ = theirs
    draw = np.random.default_rng(2)
    attended = valid if padded else np.ones_like(valid)
    target, cells = draw.standard_normal(x.shape, np.float32), draw.random(x.shape) < 0.2
    cells[0] = False  # a sample with nothing altered
    cells &= attended[..., None]

    loss, gradient = loss_and_gradient(params, target, cells, attended)
    _, reconstruction = torch_forward(torch, network, same_x, torch.tensor(~valid) if padded else None)
    error, mask = (reconstruction - torch.tensor(target)).abs(), torch.tensor(cells)
    of_torch = sum((error[b] * mask[b]).sum() / max(1, int(mask[b].sum())) for b in range(3)) / 3
    parameters = dict(network.named_parameters())
    of_torch_gradient = dict(zip(parameters, torch.autograd.grad(of_torch, parameters.values()), strict=True))
    agree("loss of a step vs torch", loss, of_torch.item(), MODEL)
    gradients = in_torch_order(gradient, small)
    assert gradients.keys() == of_torch_gradient.keys()
    for name, value in gradients.items():
        agree(f"gradient of {name} vs torch", value, of_torch_gradient[name], MODEL)


def test_padding_mask_equals_torch(ours, theirs, agree, valid):
    params, run, x, *_ = ours
    torch, network, same_x, *_ = theirs
    out = run(params, x, valid, None)
    with torch.no_grad():
        layers, _ = torch_forward(torch, network, same_x, padding=torch.tensor(~valid))
    for i in range(1, 3):
        agree(f"block {i} under padding vs torch", out["layers"][i], layers[i], MODEL)


def test_full_size_equals_torch(agree, random_params):
    """One window of five minutes through the published 61.1 M parameters, float32 on both sides."""
    cfg = EncoderConfig()
    merge, params, model_state = random_params(cfg)
    torch, network = torch_network(cfg, params, "float32")
    x = np.random.default_rng(1).standard_normal((1, 599, 156), np.float32)
    out = jax.jit(lambda params, x: merge(params, model_state)(x))(params, x)
    with torch.no_grad():
        layers, reconstruction = torch_forward(torch, network, torch.tensor(x))
    agree("full size, embedding", out["layers"][0], layers[0], LAYER)
    for i in range(1, 5):
        agree(f"full size, output of block {i}", out["layers"][i], layers[i], MODEL)
    agree("full size, reconstruction", out["reconstruction"], reconstruction, MODEL)
