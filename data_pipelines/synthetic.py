"""The embedded cohort: seeded, labelled recordings of people who do not exist, from simple body physics.

An accelerometer at rest reads the upward direction in its own axes, so posture is two tilt angles per sensor.
Gait is a stride clock with step-to-step variability; each channel answers with harmonics of it, and the thigh
also swings. Every person has an own cadence, strength, harmonic mix, posture and skewed sensors. Levels
follow the published recordings of HARTH (doi 10.3390/s21237853) in order of magnitude; nobody's data are in
here.
"""

import dataclasses

import numpy as np

from data_pipelines import synthetic_wrist
from data_pipelines.contract import PLACES, Recording, channels_of
from data_pipelines.synthetic_noise import skew, smooth, spread, wander
from selfpab_jax.signals.stft import SAMPLE_RATE_HZ

SUBJECTS = 10
HARMONICS = 8
NOISE_G = 0.004  # Axivity AX3 at 50 Hz
FIRST_SAMPLE_US = 1_577_836_800_000_000  # 2020-01-01
ROUND_S = 1800  # every half hour holds one scene of each kind


@dataclasses.dataclass(frozen=True)
class Activity:
    """What the body does on average: tilts in degrees (0 = upright), accelerations in g (RMS).

    `trunk` is positive leaning back, `thigh` positive with the knee forward, `swing` the thigh's amplitude
    about that. `decay` damps the harmonics, `jitter` disturbs the clock; steps that come and go do so above
    `gate` standard deviations (None: steady).
    """

    name: str
    trunk: float
    thigh: float
    posture_sd: float = 4.0
    step_hz: float = 1.8
    swing: float = 0.0
    back_g: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thigh_g: tuple[float, float, float] = (0.0, 0.0, 0.0)
    decay: float = 0.1
    jitter: float = 0.04
    gate: float | None = None
    vibration_g: float = 0.0
    fidgets_hz: float = 0.02


SMALL = (1.5, 5, (0.11, 0.15, 0.10), (0.20, 0.26, 0.26), 0.1, 0.3)  # steps of people who stay where they are
ACTIVITIES = {  # codes and names of HARTH
    1: Activity("walking", -14, 5, 3, 1.85, 19, (0.28, 0.16, 0.17), (0.48, 0.36, 0.42)),
    2: Activity("running", -14, 13, 3, 2.75, 30, (1.10, 0.33, 0.34), (1.35, 0.80, 1.10), decay=0.05),
    3: Activity("shuffling", -10, 4, 5, *SMALL, gate=0.1, fidgets_hz=0.06),
    4: Activity("stairs (ascending)", -18, 10, 4, 1.68, 20, (0.2, 0.1, 0.15), (0.4, 0.25, 0.3), 0.3, 0.07),
    5: Activity("stairs (descending)", -13, 8, 4, 1.88, 16, (0.3, 0.2, 0.15), (0.4, 0.3, 0.35), 0.0, 0.07),
    6: Activity("standing", -6, 2, 6, *SMALL, gate=1.9, fidgets_hz=0.05),
    7: Activity("sitting", 9, 84, 8, fidgets_hz=0.03),
    8: Activity("lying", 86, 86, 5, fidgets_hz=0.008),
    13: Activity("cycling (sit)", -36, 40, 4, 2.3, 23, (0.1, 0.1, 0.1), (0.2, 0.1, 0.2), 0.4, 0.03, None, 0.09),
    14: Activity("cycling (stand)", -34, 20, 5, 1.9, 25, (0.2, 0.2, 0.2), (0.2, 0.1, 0.2), 0.2, 0.05, None, 0.12),
    130: Activity("cycling (sit, inactive)", -36, 52, 12, vibration_g=0.07),
    140: Activity("cycling (stand, inactive)", -30, 18, 12, vibration_g=0.07),
}
CODES = np.array(tuple(ACTIVITIES), np.int16)
TABLE = tuple(ACTIVITIES.values())

# Share of the harmonics 1..8 of the stride in each channel: the trunk moves up and forward at every step
# (even harmonics) and sideways at every stride (odd ones), the thigh does both.
STEPWISE = (0.10, 1.00, 0.12, 0.45, 0.06, 0.25, 0.03, 0.10)
STRIDEWISE = (1.00, 0.15, 0.50, 0.12, 0.30, 0.06, 0.12, 0.03)
MIXED = (0.80, 1.00, 0.55, 0.50, 0.30, 0.25, 0.15, 0.10)
HARMONIC_SHARE = np.array((STEPWISE, STRIDEWISE, STEPWISE, MIXED, MIXED, MIXED))

# A scene is a list of (code, median bout s, share of time); its bouts come in random order.
SCENES = {
    "indoors": ((7, 60, 0.38), (6, 15, 0.28), (3, 5, 0.12), (1, 12, 0.22)),
    "outdoors": ((1, 45, 0.62), (6, 10, 0.08), (3, 4, 0.04), (4, 10, 0.13), (5, 9, 0.13)),
    "running": ((2, 60, 0.85), (1, 20, 0.15)),
    "cycling": ((13, 35, 0.62), (14, 12, 0.20), (130, 10, 0.11), (140, 9, 0.07)),
    "rest": ((8, 110, 0.75), (7, 60, 0.25)),
}
SCENE_SHARE = {"indoors": 0.38, "outdoors": 0.24, "running": 0.11, "cycling": 0.14, "rest": 0.13}


@dataclasses.dataclass(frozen=True)
class Person:
    """One wearer's habits; rows of the arrays are activities in the order of `ACTIVITIES`."""

    scenes: tuple[str, ...]
    cadence: np.ndarray  # [A] steps per second
    trunk: np.ndarray  # [A] degrees
    thigh: np.ndarray  # [A] degrees
    swing: np.ndarray  # [A] degrees
    response: np.ndarray  # [A, 2 * HARMONICS, 6] g, of the cosines and sines of the stride clock
    mounting: tuple[np.ndarray, np.ndarray]  # rotation matrices of the back and the thigh sensor


def recording(index: int, *, seed: int = 0, hours: float = 1.0) -> Recording:
    """Person `index`'s recording: `hours` at 50 Hz, acceleration [S, 9] in g, HARTH codes, some time gaps.

    The same index, seed and hours give the same bits with the same NumPy version. Some people do not cycle,
    others do not run.

    Raises:
      ValueError: index outside 0..SUBJECTS-1, or a length that is not positive.
    """
    if not 0 <= index < SUBJECTS:
        raise ValueError(f"synthetic subject {index} does not exist, expected 0 to {SUBJECTS - 1}")
    samples = round(hours * 3600 * SAMPLE_RATE_HZ)
    if samples < 1:
        raise ValueError(f"a synthetic recording of {hours} hours holds no sample, expected a longer one")
    rng = np.random.default_rng([seed, index])
    person = _person(rng, index)
    kept = _kept(rng, samples)
    activity, starts = _schedule(rng, person, len(kept))
    bout = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(kept)))
    acceleration, clock, envelope = _acceleration(rng, person, activity, bout)
    # A stream of its own, so that back and thigh are what they were before there was a wrist.
    rng = np.random.default_rng([seed, index, 3])
    wrist = synthetic_wrist.acceleration(rng, CODES[activity], bout, clock, envelope)
    return Recording(
        subject=f"P{index + 1:02d}",
        name=f"P{index + 1:02d}",
        acceleration=np.concatenate([acceleration[kept], wrist[kept]], axis=1),
        time=FIRST_SAMPLE_US + np.flatnonzero(kept) * (1_000_000 // SAMPLE_RATE_HZ),
        label=CODES[activity[bout]][kept],
        activities={code: activity.name for code, activity in ACTIVITIES.items()},
        channels=channels_of(PLACES),
    )


def _person(rng: np.random.Generator, index: int) -> Person:
    n = len(TABLE)
    skipped = {"cycling"} if index % 4 == 3 else {"running"} if index % 5 == 4 else set()
    decay = np.array([a.decay for a in TABLE])[:, None, None]
    share = HARMONIC_SHARE * np.exp(-decay * np.arange(HARMONICS)) * rng.lognormal(0, 0.25, (n, 6, HARMONICS))
    strength = rng.lognormal(0, 0.2) * rng.lognormal(0, 0.2, (n, 6))
    rms = np.array([a.back_g + a.thigh_g for a in TABLE]) * strength
    amplitude = rms[:, :, None] * share * np.sqrt(2 / np.sum(share**2, axis=2, keepdims=True))
    # People share the shape of a step more than they differ in it: common phases, own deviations.
    phase = np.random.default_rng(7).uniform(0, 2 * np.pi, (n, 6, HARMONICS))
    phase += rng.normal(0, 0.8, phase.shape)
    response = np.concatenate([amplitude * np.cos(phase), amplitude * np.sin(phase)], axis=2)
    sd = np.array([a.posture_sd for a in TABLE])
    return Person(
        scenes=tuple(name for name in SCENES if name not in skipped),
        cadence=np.array([a.step_hz for a in TABLE]) * rng.lognormal(0, 0.08) * rng.lognormal(0, 0.04, n),
        trunk=np.array([a.trunk for a in TABLE]) + rng.normal(0, 5) + rng.normal(0, 0.7, n) * sd,
        thigh=np.array([a.thigh for a in TABLE]) + rng.normal(0, 3) + rng.normal(0, 0.5, n) * sd,
        swing=np.array([a.swing for a in TABLE]) * rng.lognormal(0, 0.15),
        response=response.transpose(0, 2, 1).astype(np.float32),
        mounting=(skew(rng), skew(rng)),
    )


def _kept(rng: np.random.Generator, samples: int) -> np.ndarray:
    """True where the streams survived, `samples` times; an hour loses about 12 x 1-4 s and 1 x 20-60 s."""
    hours = samples / (3600 * SAMPLE_RATE_HZ)
    short, long = rng.uniform(1, 4, rng.poisson(12 * hours)), rng.uniform(20, 60, rng.poisson(hours))
    lengths = np.concatenate([short, long])
    lost = np.rint(lengths * SAMPLE_RATE_HZ).astype(int)
    where = np.sort(rng.integers(1, max(2, samples), len(lost)))  # position among the kept samples
    pieces = np.diff(np.concatenate([[0], where, [samples]]))
    runs = np.zeros(2 * len(lost) + 1, int)
    runs[0::2], runs[1::2] = pieces, rng.permutation(lost)
    return np.repeat(np.arange(len(runs)) % 2 == 0, runs)


def _schedule(rng: np.random.Generator, person: Person, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Activity (row of TABLE) and first sample of each bout."""
    total_s = samples / SAMPLE_RATE_HZ
    rounds = max(1, round(total_s / ROUND_S))
    round_s = total_s / rounds
    shares = np.array([SCENE_SHARE[name] for name in person.scenes])
    activity, seconds = [], []
    for _ in range(rounds):
        for scene in rng.permutation(len(person.scenes)):
            scene_s = round_s * shares[scene] / shares.sum()
            codes, lengths = _bouts(rng, SCENES[person.scenes[scene]], scene_s)
            activity.append(codes)
            seconds.append(lengths * scene_s / lengths.sum())
    ends = np.rint(np.cumsum(np.concatenate(seconds)) * SAMPLE_RATE_HZ).astype(int)
    return np.concatenate(activity), np.concatenate([[0], ends[:-1]])


def _bouts(rng: np.random.Generator, scene, scene_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled bouts of a scene (rows of TABLE), log-normal lengths in s, each activity at least once."""
    counts = [max(1, rng.poisson(0.8 * share * scene_s / median)) for _, median, share in scene]
    row = np.repeat([int(np.flatnonzero(CODES == code)[0]) for code, _, _ in scene], counts)
    share = np.repeat([share * scene_s / n for (_, _, share), n in zip(scene, counts, strict=True)], counts)
    order = rng.permutation(len(row))
    return row[order], (share * rng.lognormal(0, 0.5, len(row)))[order]


def _acceleration(rng, person: Person, activity: np.ndarray, bout: np.ndarray) -> tuple[np.ndarray, ...]:
    """float32 [S, 6] g: gravity by tilt, harmonics of the stride, vibration, by skewed, noisy sensors.

    Also the stride clock [S] in radians and the strength of the steps [S].
    """
    n, bouts = len(bout), len(activity)
    row = activity[bout]
    effort = rng.lognormal(0, 0.2, bouts)  # a brisk bout is faster and harder
    hz = smooth((person.cadence[activity] * effort**0.7)[bout], 1.5)
    jitter = np.array([a.jitter for a in TABLE])[row] * (wander(rng, n, 0.6) + wander(rng, n, 5))
    clock = np.pi * np.cumsum(hz * (1 + jitter)) / SAMPLE_RATE_HZ  # two steps to a turn
    envelope = _envelope(rng, row, effort[bout])
    movement = _harmonics(person, row, clock) * envelope[:, None]

    fidgets = rng.random(n) < np.array([a.fidgets_hz for a in TABLE])[row] / SAMPLE_RATE_HZ
    burst = 0.05 * spread(fidgets, 2)
    shaking = burst + np.array([a.vibration_g for a in TABLE])[row]
    movement += shaking[:, None] * np.stack([wander(rng, n, 0.06) for _ in range(6)], axis=1)

    angles = _tilts(rng, person, activity, bout)  # trunk, trunk roll, thigh, thigh roll
    moved = [spread(fidgets * rng.normal(0, 9, n), 2) for _ in range(4)]
    sway = [wander(rng, n, 0.8) * 0.4 + wander(rng, n, 8) * 0.9 for _ in range(4)]
    trunk, trunk_roll, thigh, thigh_roll = np.deg2rad(np.array(angles) + moved + sway)
    thigh = thigh + np.deg2rad(person.swing[row]) * envelope * np.sin(clock)
    up_back = (-np.cos(trunk) * np.cos(trunk_roll), np.sin(trunk_roll), np.sin(trunk) * np.cos(trunk_roll))
    up_thigh = (-np.cos(thigh) * np.cos(thigh_roll), -np.sin(thigh_roll), -np.sin(thigh) * np.cos(thigh_roll))
    back = (np.stack(up_back, axis=1) + movement[:, :3]) @ person.mounting[0].T
    leg = (np.stack(up_thigh, axis=1) + movement[:, 3:]) @ person.mounting[1].T
    sensed = np.concatenate([back, leg], axis=1) * rng.normal(1, 0.005, 6) + rng.normal(0, 0.008, 6)
    sensed += NOISE_G * rng.standard_normal(sensed.shape, np.float32)
    return np.clip(sensed, -8, 8).astype(np.float32), clock, envelope  # the AX3's range


def _tilts(rng, person: Person, activity: np.ndarray, bout: np.ndarray) -> list[np.ndarray]:
    """Trunk, trunk roll, thigh, thigh roll [S] in degrees, gliding from bout to bout within about 1.5 s."""
    bouts = len(activity)
    sd = np.array([a.posture_sd for a in TABLE])[activity] * 0.7
    trunk = person.trunk[activity] + rng.normal(0, sd)
    thigh = person.thigh[activity] + rng.normal(0, sd)
    roll = rng.normal(0, 3, bouts)
    thigh_roll = rng.normal(0, 4, bouts)
    # One rest in three is spent on a side, one in six on the belly.
    lying = CODES[activity] == 8
    way = rng.random(bouts)
    side = lying & (way < 1 / 3)
    sign = rng.choice((-1.0, 1.0), bouts)
    roll = np.where(side, sign * rng.normal(75, 6, bouts), roll)
    thigh_roll = np.where(side, sign * rng.normal(65, 10, bouts), thigh_roll)
    prone = lying & (way > 5 / 6)
    trunk, thigh = np.where(prone, -trunk, trunk), np.where(prone, -thigh, thigh)
    return [smooth(tilt[bout], 1.5) for tilt in (trunk, roll, thigh, thigh_roll)]


def _envelope(rng: np.random.Generator, row: np.ndarray, effort: np.ndarray) -> np.ndarray:
    """Strength of the steps [S]: varies from step to step, pauses where irregular, fades between bouts."""
    n = len(row)
    steady = np.clip(1 + 0.10 * wander(rng, n, 0.6) + 0.10 * wander(rng, n, 8), 0.2, None)
    irregular = wander(rng, n, 0.9)
    gate = np.array([np.nan if a.gate is None else a.gate for a in TABLE])[row]
    strength = np.where(np.isnan(gate), steady, np.clip(irregular - gate, 0, 2))
    change = np.zeros(n)
    change[np.flatnonzero(np.diff(row))] = 1
    fade = 1 - 0.7 * np.clip(spread(change, 1), 0, 1)
    return (strength * fade * smooth(effort**1.5, 0.5)).astype(np.float32)


def _harmonics(person: Person, row: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """float32 [S, 6] g: each activity's samples answer the stride clock with that activity's harmonics."""
    movement = np.zeros((len(row), 6), np.float32)
    turn = np.exp(1j * np.mod(clock, 2 * np.pi)).astype(np.complex64)
    for index in np.flatnonzero(np.abs(person.response).max(axis=(1, 2)) > 0):
        here = np.flatnonzero(row == index)
        powers = turn[here, None] ** np.arange(1, HARMONICS + 1, dtype=np.complex64)
        movement[here] = np.concatenate([powers.real, powers.imag], axis=1) @ person.response[index]
    return movement
