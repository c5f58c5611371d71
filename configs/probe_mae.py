"""Leave-one-subject-out probing of a masked autoencoder of configs/mae.py, 10 s at a time.

    selfpab prepare --input HAR70+ --layout harth --sensors thigh --rate 30 --out prepared/har70plus_thigh
    selfpab probe --config=configs/probe_mae.py --config.data.dir=prepared/har70plus_thigh --config.encoder=runs/mae \
        --workdir=runs/probe_mae

A 10 s patch has the label that most of its samples have. Patches in which that label holds less than
`data.min_majority` are left out of training, never out of the scores. Values marked A are of the first author's later
public code (lmm_mae: frozen encoder, one label a token), R our choice. Variants: `small` for two CPU cores, `smoke` for
a test. Methods: those of selfpab_jax/evaluate/probe.py; `spectrogram_*` are classifiers on the log mean magnitudes and
the mean of each patch.
"""

from ml_collections import ConfigDict

SMALL = {
    "methods": ("pretrained_linear", "random_linear", "spectrogram_linear", "pretrained_lstm", "random_lstm"),
    "probe.hidden": 128,
    "probe.lstm_hidden": 64,
    "probe.steps": 600,
    "seeds": (0, 1, 2),
}
SMOKE = {
    "methods": ("pretrained_linear", "pretrained_lstm_tuned", "spectrogram_linear"),
    "probe.hidden": 8,
    "probe.lstm_hidden": 4,
    "probe.batch_size": 4,
    "probe.full_batch_size": 2,
    "probe.steps": 4,
    "probe.valid_every": 2,
}
VARIANTS = {"": {}, "small": SMALL, "smoke": SMOKE}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"configs/probe_mae.py has no variant '{variant}', expected small, smoke or none")
    config = ConfigDict()
    config.encoder = ""  # run folder of `selfpab pretrain`
    config.which = "best"  # checkpoint: best by validation, latest, or the number of a step
    config.methods = ("pretrained_linear", "pretrained_frozen", "pretrained_lstm", "random_linear", "spectrogram_mlp")
    config.baseline = "random_linear"  # paired differences are taken to it
    config.seeds = (0,)
    config.classifier = ""  # keeping a classifier is for SelfPAB encoders
    config.folds = 0  # 0: leave one subject out; k: k folds over subjects
    config.training_subjects = 0  # 0: all that are not tested
    config.data = ConfigDict()
    config.data.dir = ""  # prepared folder with labels, of the encoder's sensor and rate
    config.data.window_tokens = 0  # 0: as in pre-training
    config.data.stride_tokens = 0  # 0: half a window; overlapping predictions are averaged
    config.data.validation = 0.2  # R: the first 20 % of each training subject
    config.data.min_majority = 0.75  # R
    config.data.scored = "tokens"  # one decision per 10 s; "samples" compares with SelfPAB
    config.data.merge = ConfigDict({"130": 13, "140": 14})  # HARTH: trained on 12 classes, scored on 10
    config.probe = ConfigDict()
    config.probe.hidden = 512  # R
    config.probe.lstm_hidden = 128  # A: both directions together as wide as the encoder
    config.probe.layers = "last"
    config.probe.steps = 2000  # R
    config.probe.batch_size = 32  # R: windows of patches
    config.probe.cut_tokens = 0  # whole windows
    config.probe.full_batch_size = 8
    config.probe.learning_rate = 1e-3  # A
    config.probe.encoder_learning_rate = 1e-4  # R
    config.probe.decay = 0.1  # R
    config.probe.valid_every = 100
    config.probe.select = "best"
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
