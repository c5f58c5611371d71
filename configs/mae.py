"""Masked autoencoder on raw signals of one sensor with LMM/LMV-style losses (arXiv 2502.17477, re-derived).

    selfpab prepare --input UKB --layout ukbiobank --sensors wrist --rate 30 --window 3000 --out prepared/ukb
    selfpab pretrain --config=configs/mae.py --config.data.dir=prepared/ukb --workdir=runs/mae

9.94 M parameters, 300 patches of 10 s. The losses follow the paper's abstract and its first author's later public code;
frame length, hop, window, mean over frames, floor and L2 are our assumptions. A value marked A is read in that code, R
is our choice. Variants: `small` (1.0 M parameters, 5 minutes a window, for two CPU cores), `smoke` (a test).
"""

from ml_collections import ConfigDict

NARROW = {"data.batch_size": 64, "model.d_model": 128, "model.layers": 4, "model.heads": 4}
SMALL = NARROW | {
    "data.valid_fraction": 0.15,
    "train.steps": 2_000,
    "train.valid_every": 250,
    "train.save_every": 500,
}
TINY = {"data.batch_size": 8, "model.d_model": 16, "model.heads": 2, "model.layers": 2}
SMOKE = TINY | {"train.steps": 4, "train.log_every": 2, "train.valid_every": 2, "train.save_every": 2}
VARIANTS = {"": {}, "small": SMALL, "smoke": SMOKE}


def get_config(variant: str = "") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"configs/mae.py has no variant '{variant}', expected small, smoke or none")
    config = ConfigDict({group: {} for group in ("data", "model", "spectrum", "optimizer")})
    config.objective = "mae"
    config.seed = 0
    config.sensor = "wrist"  # back, thigh or wrist: what the prepared folder holds
    config.rate_hz = 30  # A
    config.mask_ratio = 0.6  # A
    config.data.dir = ""  # a folder written by `selfpab prepare`; its windows are the sequences
    config.data.batch_size = 144  # A: 6 recordings x 24 windows; over all devices
    config.data.valid_fraction = 0.1
    config.data.split = "subject"
    config.data.split_seed = 0  # who validates, and which hours; the same for every `seed`
    config.data.hours = 0.0  # 0: all; else so many hours, each amount inside the larger ones
    config.data.hours_by = "window"  # or "subject": one person's windows after the other's
    config.data.random_start = True  # A: each visit of a window begins anywhere in its stride
    config.data.sampling = "uniform"  # or "movement": windows by their moving standard deviation
    config.model.channels = 3
    config.model.patch = 300  # A: 10 s
    config.model.d_model = 256  # A, as the next three
    config.model.layers = 12
    config.model.heads = 8
    config.model.ff_ratio = 2.67
    config.model.drop_tokens = False  # A; True: classic masked autoencoder with the light decoder below
    config.model.decoder_layers = 2
    config.model.decoder_width = 128
    config.model.dtype = "float32"  # "bfloat16" on accelerators; losses stay float32
    config.model.attention = "plain"  # or "fused"; this and the next two change how it computes, not what
    config.model.remat = False  # True: less memory, a third more work
    config.model.scan = False  # True: a program that does not grow with the layers
    config.loss = ConfigDict({"lmm": 1.0, "lmv": 0.0, "mse": 0.0})  # R: weights of the sum
    config.spectrum.frame_length = 60  # R, as the next seven (selfpab_jax/losses.py); 2 s
    config.spectrum.hop = 30
    config.spectrum.window = "hann"
    config.spectrum.average = "log_of_mean"
    config.spectrum.log_base = "10"
    config.spectrum.floor = 1e-4
    config.spectrum.distance = "l2"
    config.spectrum.pool = 1
    config.optimizer.learning_rate = 1e-3  # A
    config.optimizer.b1 = 0.9
    config.optimizer.b2 = 0.999  # A: PyTorch's default
    config.optimizer.eps = 1e-8
    config.optimizer.weight_decay = 0.01  # A
    config.optimizer.warmup = 0.025  # A: 1 of 40 epochs; there constant from then on, and clipped at 1.0
    config.optimizer.floor = 0.01  # the schedule that the methods here share falls to this share
    config.mesh = ConfigDict({"data": 0, "fsdp": 1, "tensor": 1})  # devices along each axis; data 0: all that are left
    config.train = ConfigDict({"steps": 100_000, "log_every": 50, "valid_every": 2_500, "save_every": 2_500})
    config.train.accumulate = 1  # parts of a batch, one after the other
    config.train.stall_s = 1_800  # seconds without a finished step after which a process gives up
    config.train.keep_every = 0  # so many steps apart checkpoints stay for good; 0: the newest two and the best
    config.train.max_bad_streak = 10
    config.update_from_flattened_dict(VARIANTS[variant])
    return config
