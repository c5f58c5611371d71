"""The house rules that import statements and line counts can show; AGENTS.md draws the rooms."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
TOP = ("selfpab_jax", "data_pipelines", "launch", "configs")
LIBRARY = "selfpab_jax."

# room -> what of ours it may import besides itself. Configs are read by path, never imported.
ARROWS = {
    "signals": (),
    "losses": (LIBRARY + "signals",),
    "models": (LIBRARY + "signals",),
    "objectives": (LIBRARY + "models", LIBRARY + "losses", LIBRARY + "signals"),
    "train": (),
    "evaluate": tuple(LIBRARY + room for room in ("train", "models", "objectives", "signals")),
    "baselines": (LIBRARY + "signals", LIBRARY + "evaluate.metrics"),
    "interop": (LIBRARY + "models", LIBRARY + "train.checkpoint"),
    "selfpab_jax": (),
    "data_pipelines": (LIBRARY + "signals",),
    "launch": ("data_pipelines", "selfpab_jax"),
    "configs": (),
}

# room -> third-party packages it may import. Signals, losses, models, objectives and the step must run on a
# machine that has nothing but jax, flax, optax and numpy; NNX stays in models.
PACKAGES = {
    "signals": {"jax", "numpy"},
    "losses": {"jax", "numpy"},
    "models": {"jax", "flax", "numpy"},
    "objectives": {"jax", "numpy"},
    "train": {"jax", "optax", "numpy"},
    "evaluate": {"jax", "optax", "numpy", "scipy", "matplotlib", "tqdm"},
    "baselines": {"jax", "optax", "numpy", "scipy", "sklearn", "xgboost"},
    "interop": {"jax", "numpy", "torch", "safetensors", "onnx", "onnxscript", "onnxruntime"},
    "selfpab_jax": set(),
    "data_pipelines": {"numpy", "scipy", "grain", "tensorflow_datasets", "array_record", "pyarrow", "tqdm"},
    "launch": {"jax", "numpy", "tqdm", "ml_collections", "absl"},
    "configs": {"ml_collections"},
}

# Single files that own a package, so that it can be replaced in one place.
OWNERS = {
    "selfpab_jax/train/checkpoint.py": {"orbax", "grain"},  # grain only for its save arguments
    "selfpab_jax/train/metrics.py": {"tensorboardX"},
    "selfpab_jax/train/loop.py": {"tqdm"},
    "data_pipelines/readers/geneactiv.py": {"skdh"},
    # The benchmark measures this project beside the same work in PyTorch; no other job needs these.
    "launch/bench.py": {"torch"},
    "launch/benchmarks/encode.py": {"torch"},
    "launch/benchmarks/network.py": {"torch"},
    "launch/benchmarks/mae_network.py": {"torch"},
    "launch/benchmarks/step.py": {"torch"},
    "launch/benchmarks/step_mae.py": {"torch"},
    "launch/benchmarks/step_selfpab.py": {"torch"},
    "launch/benchmarks/stft.py": {"torch"},
    "launch/benchmarks/input_pipeline.py": {"torch", "array_record"},  # a DataLoader that reads the same shards
    "launch/benchmarks/ingest.py": {"skdh"},
    "data_pipelines/ingest/beam.py": {"apache_beam"},
    "launch/benchmarks/hand_crafted.py": {"scipy"},  # the loop that it measures this project beside
}

LINES = {"selfpab_jax/train/loop.py": 150, "launch/": 120, "configs/": 80, "": 300}
OLD_NAMES = {("jax", "pmap")} | {("nnx", name) for name in ("jit", "Optimizer", "grad", "value_and_grad")}


def _sources(*tops: str) -> dict[str, str]:
    """Text of every Python file below `tops` by its path inside the project."""
    found = sorted(path for top in tops for path in (PROJECT / top).rglob("*.py"))
    return {path.relative_to(PROJECT).as_posix(): path.read_text() for path in found}


def _room(path: str) -> str:
    """The room of a file or of a dotted module: a package of the library, losses, or a top-level package."""
    parts = path.removesuffix(".py").replace("/", ".").removesuffix(".__init__").split(".")
    return parts[1] if parts[0] == "selfpab_jax" and len(parts) > 1 else parts[0]


def _imports(source: str) -> list[tuple[int, str]]:
    """(line, dotted name) of every import, also inside functions; a relative one begins with a dot."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(node.lineno, f"{module}.{alias.name}") for alias in node.names]
    return found


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def wrong_imports(path: str, source: str) -> list[str]:
    """One line for each import that leaves the arrows or takes a package from its owner."""
    room, wrong = _room(path), []
    for line, name in _imports(source):
        top = name.split(".")[0]
        if name.startswith("."):
            wrong.append(f"{path}:{line}: relative import {name}; write the whole name")
        elif top in TOP:
            allowed = _room(name) == room or any(_within(name, target) for target in ARROWS[room])
            wrong += [] if allowed else [f"{path}:{line}: {room} must not import {name}"]
        elif top not in sys.stdlib_module_names and top not in PACKAGES[room] | OWNERS.get(path, set()):
            wrong.append(f"{path}:{line}: {top} does not belong in {room}")
    return wrong


def wrong_constructs(path: str, source: str) -> list[str]:
    """One line for each name resolved to code at run time, each unpickling and each outdated interface."""
    wrong = []
    for line, name in _imports(source):
        if name.split(".")[0] in {"importlib", "pickle"} and not _within(name, "importlib.metadata"):
            wrong.append(f"{path}:{line}: import of {name}")
        if name.split(".")[0] == "runpy" and path != "launch/config_file.py":
            wrong.append(f"{path}:{line}: only launch/config_file.py reads Python files by path")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in OLD_NAMES:
                wrong.append(f"{path}:{node.lineno}: {node.value.id}.{node.attr}; the step is plain jax.jit")
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        # A dataclass may look at its own fields in turn.
        computed = called == "getattr" and not isinstance(node.args[1], ast.Constant)
        if computed and ast.unparse(node.args[0]) != "self":
            wrong.append(f"{path}:{node.lineno}: getattr with a computed name")
        if called in {"eval", "exec", "__import__"}:
            wrong.append(f"{path}:{node.lineno}: {called}()")
        for keyword in node.keywords:
            if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                wrong.append(f"{path}:{node.lineno}: allow_pickle={ast.unparse(keyword.value)}")
    return wrong


def test_imports_follow_the_arrows_and_the_owners():
    assert [line for path, text in _sources(*TOP).items() for line in wrong_imports(path, text)] == []


def test_no_name_is_resolved_to_code_and_nothing_is_unpickled():
    assert [line for path, text in _sources(*TOP).items() for line in wrong_constructs(path, text)] == []


def test_modules_stay_small():
    too_long = []
    for path, text in _sources(*TOP, "tests").items():
        limit = next(limit for prefix, limit in LINES.items() if path.startswith(prefix))
        lines = len(text.splitlines())
        too_long += [f"{path}: {lines} lines, fewer than {limit} allowed"] if lines >= limit else []
    assert too_long == []


def test_no_drawer_for_everything():
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [path for path in _sources(*TOP, "tests") if drawers & set(Path(path).with_suffix("").parts)] == []


def test_every_file_of_the_library_lies_in_a_known_room():
    assert {_room(path) for path in _sources(*TOP)} <= set(ARROWS)


# The rules themselves, each broken once.


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("selfpab_jax/train/step.py", "from selfpab_jax.models import encoder"),
        ("selfpab_jax/train/step.py", "def f():\n    from selfpab_jax import objectives"),
        ("selfpab_jax/train/step.py", "import orbax.checkpoint as ocp"),
        ("selfpab_jax/train/step.py", "from . import optim"),
        ("selfpab_jax/signals/stft.py", "import scipy.signal"),
        ("selfpab_jax/losses.py", "import selfpab_jax.models.encoder"),
        ("selfpab_jax/objectives/selfpab.py", "from data_pipelines.contract import fake_batch"),
        ("selfpab_jax/baselines/svm.py", "from selfpab_jax.evaluate import probe"),
        ("selfpab_jax/evaluate/probe.py", "import torch"),
        ("selfpab_jax/__init__.py", "from selfpab_jax.models import encoder"),
        ("data_pipelines/windows.py", "from selfpab_jax.models.encoder import EncoderConfig"),
        ("data_pipelines/windows.py", "import jax"),
        ("launch/pretrain.py", "import grain"),
        ("launch/pretrain.py", "import configs.selfpab"),
        ("configs/selfpab.py", "from selfpab_jax.models.encoder import EncoderConfig"),
    ],
)
def test_a_wrong_import_is_seen(path, source):
    assert len(wrong_imports(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("selfpab_jax/train/checkpoint.py", "import orbax.checkpoint as ocp"),
        ("selfpab_jax/train/loop.py", "from selfpab_jax.train import checksums"),
        ("selfpab_jax/objectives/selfpab.py", "from selfpab_jax.losses import masked_l1\nimport os.path"),
        ("selfpab_jax/objectives/selfpab.py", "from selfpab_jax import losses"),
        ("selfpab_jax/baselines/svm.py", "from selfpab_jax.evaluate.metrics import macro_f1"),
        ("launch/bench.py", "def f():\n    import torch"),
    ],
)
def test_a_right_import_passes(path, source):
    assert wrong_imports(path, source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import importlib",
        "from importlib import import_module",
        "import runpy",
        "import pickle",
        "build = getattr(objectives, name)",
        "eval(text)",
        "np.load(file, allow_pickle=True)",
        "step = nnx.jit(step)",
        "step = jax.pmap(step)",
    ],
)
def test_a_wrong_construct_is_seen(source):
    assert len(wrong_constructs("launch/pretrain.py", source)) == 1
