"""SelfPAB: masked reconstruction of STFT spectrograms (doi 10.1007/s10489-024-05322-3, Table 1).

    selfpab prepare --input HUNT4 --layout hunt4 --out prepared/hunt4
    selfpab pretrain --config=configs/selfpab.py --config.data.dir=prepared/hunt4 --workdir=runs/selfpab

61.1 M parameters, about 245 GFLOP a window: 50 epochs of 100,000 h are some 12 hours of one H200 at 40 % utilisation
in bfloat16. Variants: `small` (0.8 M parameters, log magnitudes; 10 to 20 windows a second on two CPU cores), `demo`
(the small one for two to three minutes) and `smoke` (four steps of a tiny one).
"""

from ml_collections import ConfigDict

NARROW = {"data.batch_size": 8, "model.d_model": 128, "model.heads": 2, "model.ff": 512}
SMALL = NARROW | {
    "magnitude": "log",  # the last layers keep more of the activity than with linear magnitudes
    "model.dropout": 0.0,  # a third of the time on a CPU, and the model is too small to need it
    "optimizer.learning_rate": 1e-3,
    "train.steps": 4_000,
    "train.valid_every": 500,
    "train.save_every": 500,
}
DEMO = SMALL | {"train.steps": 240, "train.log_every": 20, "train.valid_every": 80, "train.save_every": 80}
TINY = {"data.batch_size": 8, "model.d_model": 16, "model.heads": 2, "model.ff": 32, "model.layers": 2}
SMOKE = TINY | {"train.steps": 4, "train.log_every": 2, "train.valid_every": 2, "train.save_every": 2}
VARIANTS = {"": {}, "small": SMALL, "demo": DEMO, "smoke": SMOKE}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"configs/selfpab.py has no variant '{variant}', expected small, demo, smoke or none")
    config = ConfigDict({group: {} for group in ("data", "model", "masking", "optimizer", "train")})
    config.objective = "selfpab"
    config.seed = 0
    config.magnitude = "linear"  # published; "log" is log(1 + x)
    config.sensors = ("back", "thigh")  # one of them alone has 78 features
    config.data.dir = ""  # a folder written by `selfpab prepare`
    config.data.batch_size = 64  # Table 1; over all devices
    config.data.valid_fraction = 0.1  # section 4.1: 10 % of the hours
    config.data.split = "subject"  # "window" is the article's split, in which subjects overlap
    config.data.split_seed = 0  # who validates, and which hours; the same for every `seed`
    config.data.hours = 0.0  # 0: all; else so many hours, each amount inside the larger ones
    config.data.hours_by = "window"  # or "subject": one person's windows after the other's
    config.data.random_start = False  # True: each visit of a window begins anywhere in its stride
    config.data.sampling = "uniform"  # or "movement": windows by their moving standard deviation
    config.model.in_features = 156  # 26 bins a channel, 3 channels a sensor
    config.model.out_features = 156
    config.model.d_model = 1500  # Table 1, as the next four
    config.model.heads = 6
    config.model.ff = 2048
    config.model.layers = 4
    config.model.dropout = 0.1
    config.model.dtype = "float32"  # "bfloat16" on accelerators
    config.model.attention = "plain"  # or "fused"; this and the next two change how it computes, not what
    config.model.remat = False  # True: less memory, a third more work
    config.model.scan = False  # True: a program that does not grow with the layers
    config.masking.reading = "paper"  # 3.2; "original" follows the authors' code (selfpab_jax/signals/masking.py)
    config.masking.time_ratio = 0.15
    config.masking.time_width = 3
    config.masking.frequency_ratio = 0.2
    config.masking.frequency_width = 3
    config.optimizer.learning_rate = 1e-4  # Table 1
    config.optimizer.b1 = 0.9  # the authors' configuration, as the next three
    config.optimizer.b2 = 0.98
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 1e-5
    config.optimizer.warmup = 0.07  # Table 1: 7 % of the steps
    config.optimizer.floor = 0.01  # the authors' schedule
    config.mesh = ConfigDict({"data": 0, "fsdp": 1, "tensor": 1})  # devices along each axis; data 0: all that are left
    config.train.accumulate = 1  # parts of a batch, one after the other
    config.train.stall_s = 1_800  # seconds without a finished step after which a process gives up
    config.train.steps = 843_750  # Table 1: 50 epochs; 90,000 h are 1,080,000 windows
    config.train.log_every = 50
    config.train.valid_every = 4_218  # four times an epoch, as the authors do
    config.train.save_every = 1_000
    config.train.keep_every = 0  # so many steps apart checkpoints stay for good; 0: the newest two and the best
    config.train.max_bad_streak = 10
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
