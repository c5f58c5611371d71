"""Leave-one-subject-out probing of a pre-trained encoder (doi 10.1007/s10489-024-05322-3, section 4.2, Table 2).

    selfpab prepare --input HAR70+ --layout harth --out prepared/har70plus
    selfpab probe --config=configs/probe.py --config.data.dir=prepared/har70plus --config.encoder=runs/selfpab \
        --workdir=runs/probe_har70plus

Variants: `small` for an encoder of configs/selfpab.py:small on a CPU, `demo` for two minutes, `smoke` for a test.
Methods: those of selfpab_jax/evaluate/probe.py; `pretrained` is the article's (frozen, tuned from 3/4 of the steps).
"""

from ml_collections import ConfigDict

SMALL = {
    "methods": ("pretrained_frozen", "random_frozen", "spectrogram_mlp", "spectrogram_mlp_context"),
    "probe.hidden": 256,  # the published 1028 go with 1500 features, here there are 128
    "probe.cut_tokens": 60,  # more, shorter cuts: neighbouring frames say nearly the same
    "probe.batch_size": 32,
    "probe.full_batch_size": 8,
    "probe.learning_rate": 1e-3,
    "probe.encoder_learning_rate": 3e-4,
    "probe.steps": 1000,
    "probe.valid_every": 250,
    "seeds": (0, 1, 2),
}
DEMO = SMALL | {
    "methods": ("pretrained_frozen", "random_frozen", "scratch", "spectrogram_mlp"),
    "seeds": (0,),
    "data.window_tokens": 120,  # 1 minute: training from scratch is what takes the time
    "data.stride_tokens": 60,
    "probe.full_batch_size": 4,
    "probe.learning_rate": 3e-3,
    "probe.encoder_learning_rate": 1e-3,
    "probe.steps": 300,
    "probe.valid_every": 100,
}
TINY = {"probe.hidden": 8, "probe.batch_size": 4, "probe.full_batch_size": 2, "probe.steps": 4, "probe.valid_every": 2}
SMOKE = TINY | {"methods": ("pretrained", "random_frozen", "scratch", "spectrogram_mlp_context")}
VARIANTS = {"": {}, "small": SMALL, "demo": DEMO, "smoke": SMOKE}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"configs/probe.py has no variant '{variant}', expected small, demo, smoke or none")
    config = ConfigDict()
    config.encoder = ""  # run folder of `selfpab pretrain`
    config.which = "best"  # checkpoint: best by validation, latest, or the number of a step
    config.methods = ("pretrained", "pretrained_linear", "random_frozen", "scratch", "spectrogram_mlp")
    config.baseline = "random_frozen"  # paired differences are taken to it
    config.seeds = (0,)
    config.classifier = ""  # a method on a pre-trained encoder to train on all subjects and keep, for `selfpab export`
    config.folds = 0  # 0: leave one subject out; k: k folds over subjects
    config.training_subjects = 0  # 0: all that are not tested
    config.data = ConfigDict()
    config.data.dir = ""  # prepared folder with labels, or a TFDS version folder
    config.data.window_tokens = 0  # 0: as in pre-training, 599 frames
    config.data.stride_tokens = 0  # 0: half a window; overlapping predictions are averaged
    config.data.validation = 0.2  # section 4.2: the first 20 % of each training subject
    config.data.min_majority = 0.0  # train on tokens whose label holds this share of them; all are scored
    config.data.scored = "samples"  # or "tokens"
    config.data.merge = ConfigDict({"130": 13, "140": 14})  # HARTH: trained on 12 classes, scored on 10
    config.probe = ConfigDict()
    config.probe.hidden = 1028  # Table 2
    config.probe.lstm_hidden = 128
    config.probe.layers = "all"  # section 3.3: trainable weighted sum; 0 is the embedding
    config.probe.steps = 2000  # Table 2
    config.probe.batch_size = 32  # Table 2
    config.probe.cut_tokens = 0  # section 4.2: random 5-minute cuts, whole windows
    config.probe.full_batch_size = 32
    config.probe.learning_rate = 1e-4  # Table 2
    config.probe.encoder_learning_rate = 1e-4
    config.probe.decay = 0.1  # Table 2
    config.probe.valid_every = 100
    config.probe.select = "best"
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
