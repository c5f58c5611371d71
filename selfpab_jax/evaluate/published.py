"""Scores the SelfPAB paper prints, and how its tables name methods and data sets.

Source: Applied Intelligence 2024, doi 10.1007/s10489-024-05322-3.
"""

# Names of methods here -> row labels, in the order of the paper's tables.
ROWS = {
    "svm": "SVM",
    "xgboost": "XGBoost",
    "random_forest": "Random forest",  # not in the paper
    "deepconvlstm_time": "DeepConvLSTM (time series)",
    "deepconvlstm_spectrogram": "DeepConvLSTM (spectrograms)",
    "simclr": "SimCLR",
    "selfhar": "SelfHAR",
    "spectrogram_mlp": "Spectrograms + MLP",
    "scratch": "Spectrograms + TE",  # the transformer encoder without pre-training
    "pretrained_linear": "SelfPAB linear",
    "pretrained": "SelfPAB",
}

TITLES = {
    "harth": "HARTH",
    "har70plus": "HAR70+",
    "pamap2": "PAMAP2",
    "opportunity": "Opportunity",
    "realworld": "RealWorld",
    "usc_had": "USC-HAD",
}

# Data set -> method -> macro F1 in percent, mean and standard error over subjects (None: not known).
MACRO_F1: dict[str, dict[str, tuple[float, float | None]]] = {
    "harth": {
        "svm": (71.7, None),
        "xgboost": (74.2, None),
        "deepconvlstm_time": (51.2, None),
        "deepconvlstm_spectrogram": (60.2, None),
        "simclr": (70.9, None),
        "selfhar": (69.7, None),
        "spectrogram_mlp": (60.5, None),
        "scratch": (66.1, None),
        "pretrained_linear": (64.9, None),
        "pretrained": (81.3, 1.3),
    },
    "har70plus": {
        "svm": (64.3, 2.9),
        "xgboost": (63.7, None),
        "deepconvlstm_time": (54.7, None),
        "deepconvlstm_spectrogram": (59.3, None),
        "simclr": (59.7, None),
        "selfhar": (58.8, None),
        "spectrogram_mlp": (61.9, None),
        "scratch": (64.5, None),
        "pretrained_linear": (54.0, None),
        "pretrained": (78.5, 2.1),
    },
    "pamap2": {"pretrained": (85.59, None)},
    "opportunity": {"pretrained": (86.16, None)},
    "realworld": {"pretrained": (93.61, None)},
}

IN_THE_PAPER = tuple(MACRO_F1["harth"])


def title(dataset: str) -> str:
    """The printed name of a data set; what follows its name after a space ("harth without S009") stays."""
    name, *rest = dataset.split(" ")
    return " ".join([TITLES.get(name, name), *rest])
