"""The README of an exported folder: what the model is, what it was trained on, what it is good for and what not."""

from collections.abc import Mapping, Sequence
from typing import Any

UNKNOWN = "not recorded"

CARD = """---
license: {license}
library_name: pytorch
tags:
- accelerometer
- human-activity-recognition
- self-supervised
---

# {title}

{summary}

## Use

`torch_encoder.py` lies in this folder and needs PyTorch and NumPy only.

```python
{example}
```

Input: acceleration in g at 50 Hz, float32 `[batch, samples, {width}]`, with the channels
{channels}. The axes must point as in the training data. Normalisation is part of
the module. A frame is 1 s long, a new one begins every half second: `(samples - 50) // 25 + 1` frames. Windows of
5 minutes, as in training, serve best; `over_recording` cuts them.

## Model

{model}

## Training

{training}

## Scores

{scores}

## Intended use and limits

{limits}

## Licence and citation

Licence of the weights: {license}. Method: Logacjov et al. 2024, SelfPAB, doi 10.1007/s10489-024-05322-3.
"""
ENCODER_EXAMPLE = """from torch_encoder import load, over_recording

encoder = load(".")                             # features="weighted" or "all" for more than the last layer
features = encoder(acceleration)                # [batch, frames, {d_model}]
features = over_recording(encoder, recording)   # [samples, {width}] of any length -> [frames, {d_model}]"""
CLASSIFIER_EXAMPLE = """from torch_encoder import load, over_recording

classifier = load(".")
probability = over_recording(classifier, recording)               # [samples, {width}] -> [frames, activities]
activity = [classifier.labels[k] for k in probability.argmax(1)]  # one a half second"""
LIMITS = """For research on physical activity with sensors ({sensors}) worn as in the training data. No medical device.

- Other placements, orientations, sampling rates or units give numbers without meaning, and no error.
- The encoder knows the people and the days of its training data; expect less elsewhere, and validate on labelled
  recordings of your own population before you report results.
- Frames of non-wear are encoded like any other; take them out before or after. Cut the recording at gaps: one value
  that is not finite spoils its whole window.{more}"""


def card(config: Mapping[str, Any], license: str) -> str:
    """Markdown with a YAML head; "not recorded" stands where the run folder does not tell.

    Args:
      config: what the exported config.json holds: `channels`, `sensors`, `magnitude`, `model`, `parameters`,
        `classifier` or None, `training` (rows of label and value) and `scores` (lines).
      license: of the weights, as an SPDX name.
    """
    model, head = config["model"], config["classifier"]
    sensors = " and ".join(config["sensors"])
    sizes = {"width": len(config["channels"]), "d_model": model["d_model"]}
    kind = "activity classifier on a SelfPAB encoder" if head else "SelfPAB encoder"
    rows = {
        "network": f"transformer encoder over spectrogram frames, {config['parameters']:,} parameters",
        "layers, width, heads, feed-forward": "{layers}, {d_model}, {heads}, {ff}".format(**model),
        "spectrogram": f"1 s periodic Hann windows, hop 0.5 s, {config['magnitude']} magnitudes, 26 bins a channel",
    }
    if head:
        rows["activities"] = ", ".join(head["labels"])
        units = head["hidden"] or "no"
        rows["head"] = f"{units} hidden units on a weighted sum of {len(head['layers'])} layer outputs"
    return CARD.format(
        license=license,
        title=f"{kind[0].upper()}{kind[1:]} for {sensors} accelerometers",
        summary=f"Acceleration of the {sensors} in, "
        + ("probabilities of activities out." if head else "features of every second out, for classifiers on top."),
        example=(CLASSIFIER_EXAMPLE if head else ENCODER_EXAMPLE).format(**sizes),
        width=sizes["width"],
        channels=", ".join(config["channels"]),
        model=_table(rows.items()),
        training=_table(config["training"].items()),
        scores="\n".join(config["scores"]) or "None are recorded with these weights.",
        limits=LIMITS.format(
            sensors=sensors,
            more="\n- It knows only the activities named above, and gives each second to one of them." if head else "",
        ),
    )


def _table(rows: Sequence[tuple[str, Any]]) -> str:
    lines = [f"| {label} | {UNKNOWN if value is None else value} |" for label, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines])
