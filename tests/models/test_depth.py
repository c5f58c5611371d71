"""How blocks run changes neither parameters nor results, only the size of the program and what it holds in memory."""

import dataclasses

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from selfpab_jax.models.encoder import EncoderConfig, SpectrogramEncoder
from selfpab_jax.models.functional import split
from selfpab_jax.models.mae import MaeConfig, MaskedAutoencoder

B, N = 2, 7
DRAW = np.random.default_rng(0)
CASES = {  # config, input, mask of padding or numbers of the kept patches
    "encoder": (
        EncoderConfig(d_model=12, heads=2, ff=8, layers=2, dropout=0.3),
        DRAW.standard_normal((B, N, 156), np.float32),
        np.arange(N) < np.array([[N], [4]]),
    ),
    "autoencoder": (
        MaeConfig(patch=4, d_model=8, layers=2, heads=2, drop_tokens=True, decoder_layers=2, decoder_width=4),
        DRAW.standard_normal((B, N, 3, 4), np.float32),
        np.array([[0, 2, 6], [1, 4, 5]]),
    ),
}
REMAT = {"remat2", "checkpoint"}  # its names in releases of jax
HURRY = {"xla_backend_optimization_level": 0}  # the same operations, compiled in less time
HOW = {"remat": {"remat": True}, "scan": {"scan": True}, "both": {"remat": True, "scan": True}}


def network(cfg):
    """(params, (params, x, mask or kept, key) -> (mean square of the reconstruction, outputs)) of a config."""
    kind = SpectrogramEncoder if isinstance(cfg, EncoderConfig) else MaskedAutoencoder
    merge, shapes, model_state = split(nnx.eval_shape(lambda: kind(cfg, rngs=nnx.Rngs(0))))
    draw = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: 0.3 * draw.standard_normal(leaf.shape, np.float32), shapes)

    def error(params, x, given, key):
        key = () if kind is MaskedAutoencoder else (key,)
        out = merge(params, model_state)(x, given, *key)
        return (out["reconstruction"] ** 2).mean(), out

    return params, error


def outcome(cfg, x, given):
    """(parameters, (loss, outputs, gradient)) under dropout."""
    params, error = network(cfg)
    run = jax.jit(jax.value_and_grad(error, has_aux=True), compiler_options=HURRY)
    return params, run(params, x, given, jax.random.key(5))


@pytest.fixture(scope="module", params=CASES)
def plain(request):
    """(config, input, mask or kept, its outcome without remat and scan)."""
    return *CASES[request.param], outcome(*CASES[request.param])


@pytest.mark.parametrize("how", HOW)
def test_parameters_and_results_stay(how, plain):
    cfg, x, given, (params, expected) = plain
    same, found = outcome(dataclasses.replace(cfg, **HOW[how]), x, given)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


# ---- size of the program --------------------------------------------------------------------------------------------


def equations(jaxpr):
    """Every equation, those inside of others included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.extend.core.jaxprs_in_params(equation.params):
            yield from equations(inner)


def of_gradient(case, **changes):
    """Operations of a gradient."""
    cfg, x, given = CASES[case]
    params, error = network(dataclasses.replace(cfg, **changes))
    step = jax.make_jaxpr(jax.grad(error, has_aux=True))(params, x, given, jax.random.key(0))
    return list(equations(step.jaxpr))


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_scan_does_not_grow_with_depth(case, remat):
    """Only moves do, a few a block, which stack parameters and take layers apart."""
    moves = {"broadcast_in_dim", "reshape", "concatenate", "slice", "squeeze", "pad", "dynamic_slice", "split"}

    def size(layers, scan):
        return sum(e.primitive.name not in moves for e in of_gradient(case, layers=layers, scan=scan, remat=remat))

    assert size(2, scan=True) == size(5, scan=True) < size(5, scan=False)


def test_remat_lowers_the_memory_of_a_gradient():
    """Measured with a scan: without one the CPU compiler joins both computations, an accelerator's does not."""

    def held(remat):
        """Bytes that the compiled gradient holds besides arguments and results."""
        cfg = EncoderConfig(d_model=12, heads=2, ff=256, layers=4, dropout=0, remat=remat, scan=True)
        params, error = network(cfg)
        x = jax.ShapeDtypeStruct((4, 200, 156), jnp.float32)
        gradient = jax.jit(jax.grad(lambda *a: error(*a)[0]), compiler_options=HURRY)
        compiled = gradient.lower(params, x, None, None).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    without, with_remat = held(False), held(True)
    print(f"bytes of a gradient: {without}, with remat {with_remat}")
    assert with_remat < 0.6 * without


@pytest.mark.parametrize("scan", [False, True])
def test_remat_is_of_every_block(scan):
    """Two blocks and, in the autoencoder, two of the decoder; with a scan one stands for all."""
    for case, blocks, scans in (("encoder", 2, 1), ("autoencoder", 4, 2)):
        found = [e.params for e in of_gradient(case, remat=True, scan=scan) if e.primitive.name in REMAT]
        assert len(found) == (scans if scan else blocks)
        assert all(bool(params["prevent_cse"]) != scan for params in found)


# ---- bfloat16 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["plain", "fused"])
@pytest.mark.parametrize("case", CASES)
def test_what_stays_float32(case, attention):
    """Parameters, gradients, loss, and every sum, maximum, exponential and root of the forward pass: softmax, norms."""
    cfg, x, given = CASES[case]
    changes = {"dropout": 0.0} if isinstance(cfg, EncoderConfig) else {}
    params, error = network(dataclasses.replace(cfg, dtype="bfloat16", attention=attention, scan=True, **changes))
    run = jax.value_and_grad(error, has_aux=True)
    (loss, out), gradient = jax.eval_shape(run, params, x, given, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(out["layers"])} == {jnp.dtype("bfloat16")}
    exact = params, gradient, loss, out["reconstruction"]
    assert {leaf.dtype for leaf in jax.tree.leaves(exact)} == {jnp.dtype("float32")}

    forward = jax.make_jaxpr(lambda params: error(params, x, given, None)[1])(params)
    found = {}
    for equation in equations(forward.jaxpr):
        found.setdefault(equation.primitive.name, set()).update(x.aval.dtype for x in equation.invars[:1])
    assert found["dot_general"] == {jnp.dtype("bfloat16")}
    for name in ("reduce_sum", "reduce_max", "exp", "rsqrt"):
        assert found[name] == {jnp.dtype("float32")}, name
