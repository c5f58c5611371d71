"""The wrist of the synthetic cohort: a forearm that hangs, swings, rests or holds on, and gestures in between.

The sensor's x axis points to the fingers, z out of the back of the hand. The forearm's elevation (0 = hanging,
90 = level) and its roll (0 = palm down) turn gravity in these axes. Swinging the arm adds what its turning does to
the wrist: along the path of the hand and towards the shoulder.
"""

import dataclasses

import numpy as np

from data_pipelines.synthetic_noise import skew, smooth, spread, wander
from selfpab_jax.signals.stft import SAMPLE_RATE_HZ

NOISE_G = 0.004  # Axivity AX3 at 50 Hz
GRAVITY = 9.81  # m/s^2


@dataclasses.dataclass(frozen=True)
class Arm:
    """What the arm does on average in an activity.

    Angles in degrees: elevation and roll with their spread from bout to bout, amplitude of the swing; `reach` (m)
    from the centre of the swing to the wrist; `bounce_g` at every step, `vibration_g` of a handlebar (g, RMS);
    gestures a second.
    """

    elevation: float
    roll: float
    elevation_sd: float
    roll_sd: float
    gestures_hz: float
    swing: float = 0.0
    reach: float = 0.6
    bounce_g: float = 0.0
    vibration_g: float = 0.0


ARMS = {  # by HARTH's codes; the palm of a hanging arm faces the thigh
    1: Arm(14, 75, 6, 15, 0.04, swing=17, bounce_g=0.12),
    2: Arm(80, 60, 8, 12, 0.01, swing=24, reach=0.4, bounce_g=0.6),
    3: Arm(40, 55, 20, 25, 0.12, swing=6, bounce_g=0.05),
    4: Arm(25, 70, 12, 18, 0.04, swing=12, bounce_g=0.1),
    5: Arm(25, 70, 12, 18, 0.04, swing=11, bounce_g=0.15),
    6: Arm(40, 60, 25, 25, 0.12, swing=5, bounce_g=0.03),
    7: Arm(78, 15, 10, 20, 0.08),  # on the lap or a table
    8: Arm(92, 40, 14, 45, 0.02),  # at the side or on the body
    13: Arm(62, 10, 6, 8, 0.01, swing=2, bounce_g=0.04, vibration_g=0.14),
    14: Arm(58, 10, 7, 8, 0.01, swing=4, bounce_g=0.08, vibration_g=0.18),
    130: Arm(62, 10, 8, 8, 0.02, vibration_g=0.10),
    140: Arm(58, 10, 8, 8, 0.02, vibration_g=0.10),
}
CODES = tuple(ARMS)


def acceleration(
    rng: np.random.Generator, codes: np.ndarray, bout: np.ndarray, clock: np.ndarray, envelope: np.ndarray
) -> np.ndarray:
    """float32 [S, 3] in g: what the wrist's sensor reads.

    Args:
      rng: draws the person as well as the noise.
      codes: the activity of each bout, HARTH's codes.
      bout: [S], the bout that each sample belongs to.
      clock: [S], radians; a turn is a stride of two steps. The thigh swings forward with its sine.
      envelope: [S], strength of the steps, about 1; 0 without steps.
    """
    n = len(bout)
    row = np.array([CODES.index(code) for code in codes])  # [bouts]
    names = [field.name for field in dataclasses.fields(Arm)]
    of = dict(zip(names, np.array([dataclasses.astuple(arm) for arm in ARMS.values()]).T, strict=True))
    habit = {"elevation": rng.normal(0, 4), "roll": rng.normal(0, 8), "swing": rng.lognormal(0, 0.2)}
    mounting, left = skew(rng), rng.choice((-1.0, 1.0))

    gestures = rng.random(n) < of["gestures_hz"][row][bout] / SAMPLE_RATE_HZ
    pose = []
    for angle, moved in (("elevation", 30), ("roll", 40)):
        held = of[angle][row] + habit[angle] + of[f"{angle}_sd"][row] * rng.normal(0, 1, len(row))
        sway = 0.5 * wander(rng, n, 0.8) + 1.2 * wander(rng, n, 8)
        pose.append(np.deg2rad(smooth(held[bout], 1.5) + spread(gestures * rng.normal(0, moved, n), 1.5) + sway))
    elevation, roll = pose

    # The arm swings against the thigh of its side. Its turning is taken from the clock, not from noisy angles.
    strength = np.clip(envelope, 0, 2)
    size = strength * smooth(np.deg2rad(of["swing"][row] * habit["swing"])[bout], 1.0)
    turning = np.gradient(clock) * SAMPLE_RATE_HZ if n > 1 else np.zeros(n)  # rad/s
    reach = of["reach"][row][bout] / GRAVITY
    elevation = elevation - size * np.sin(clock)
    along = reach * size * turning**2 * np.sin(clock)
    inward = reach * (size * turning * np.cos(clock)) ** 2
    # The trunk carries the shoulder up and down at every step, with the heel's knock as the second harmonic.
    bounce = 1 + np.sqrt(2) * of["bounce_g"][row][bout] * strength * (np.sin(2 * clock) + 0.4 * np.sin(4 * clock + 1))

    path = bounce * np.sin(elevation) + along
    sensed = np.stack([-bounce * np.cos(elevation) - inward, left * path * np.sin(roll), path * np.cos(roll)], axis=1)
    shaking = 0.08 * spread(gestures, 1.5) + of["vibration_g"][row][bout]
    sensed += shaking[:, None] * np.stack([wander(rng, n, 0.06) for _ in range(3)], axis=1)
    sensed = sensed @ mounting.T * rng.normal(1, 0.005, 3) + rng.normal(0, 0.008, 3)
    sensed += NOISE_G * rng.standard_normal(sensed.shape, np.float32)
    return np.clip(sensed, -8, 8).astype(np.float32)  # the AX3's range
