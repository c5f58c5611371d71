"""What a pre-training loss is worth: arms that differ in it, pre-trained and probed alike (MSE, LMM, LMM + LMV).

    selfpab prepare --input HARTH --layout harth --sensors thigh --rate 30 --stride 60 --out prepared/harth_thigh
    selfpab prepare --input HAR70+ --layout harth --sensors thigh --rate 30 --out prepared/har70plus_thigh
    selfpab compare --config=configs/compare.py:small --config.pretrain_data=prepared/harth_thigh \
        --config.probe_data=prepared/har70plus_thigh --workdir=runs/compare

An arm is a list of settings of the pre-training config; other arms go into a copy of this file. Variants: `small` (3
arms and three seeds of configs/mae.py:small on two CPU cores: an hour and a half), `smoke` for a test.
"""

from ml_collections import ConfigDict

SMALL = {"pretrain": "configs/mae.py:small", "probe": "configs/probe_mae.py:small", "seeds": (0, 1, 2)}
SMOKE = {
    "pretrain": "configs/mae.py:smoke",
    "probe": "configs/probe_mae.py:smoke",
    "methods": ("pretrained_linear", "pretrained_lstm"),
    "controls": ("random_linear", "spectrogram_linear"),
    "checkpoints": 2,
    "seeds": (0, 1),
}
VARIANTS = {"": {}, "small": SMALL, "smoke": SMOKE}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"configs/compare.py has no variant '{variant}', expected small, smoke or none")
    config = ConfigDict()
    config.pretrain = "configs/mae.py"
    config.probe = "configs/probe_mae.py"
    config.pretrain_data = ""  # prepared folder; labels are not used
    config.probe_data = ""  # prepared folder with labels
    config.settings = ("sensor=thigh",)  # of the pre-training config, for every arm
    config.probe_settings = ()  # of the probe's config, such as folds=6
    config.arms = ConfigDict()
    config.arms.mse = ("loss.lmm=0.0", "loss.mse=1.0")
    config.arms.lmm = ()
    config.arms.lmm_lmv = ("loss.lmv=1.0",)
    config.seeds = (0,)  # each pre-trains once and draws one set of classifiers
    config.checkpoints = 4  # evenly spaced; at all of them the first method is probed, at the last one all of them
    config.methods = ("pretrained_linear", "pretrained_frozen", "pretrained_lstm")
    config.controls = ("random_linear", "random_frozen", "random_lstm", "spectrogram_linear", "spectrogram_mlp")
    config.baseline = "mse pretrained_linear"  # "arm method" or a control: paired differences are taken to it
    config.metrics = ("valid/lmm", "valid/lmv", "valid/mse")  # set against the score
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
