"""What varies from photo to photo: pose, expression, gaze, light, lens and the quality of the picture."""

from dataclasses import dataclass, replace

import numpy as np

PRESETS: dict[str, dict[str, float]] = {
    "smile": {"mouthSmile": 1.0, "cheekSquint": 0.5, "eyeSquint": 0.25},
    "grin": {"mouthSmile": 0.9, "jawOpen": 0.22, "mouthUpperUp": 0.4, "mouthLowerDown": 0.25, "cheekSquint": 0.6},
    "laugh": {"mouthSmile": 0.8, "jawOpen": 0.5, "mouthUpperUp": 0.4, "cheekSquint": 0.8, "eyeSquint": 0.5},
    "talk": {"jawOpen": 0.28, "mouthLowerDown": 0.2, "mouthFunnel": 0.15},
    "oh": {"jawOpen": 0.35, "mouthFunnel": 0.6, "browInnerUp": 0.4, "browOuterUp": 0.4},
    "surprise": {"jawOpen": 0.45, "eyeWide": 0.7, "browInnerUp": 0.8, "browOuterUp": 0.8},
    "frown": {"browDown": 0.8, "mouthFrown": 0.5, "eyeSquint": 0.3},
    "sad": {"browInnerUp": 0.8, "mouthFrown": 0.7, "mouthShrugLower": 0.4},
    "disgust": {"noseSneer": 0.8, "mouthUpperUp": 0.4, "browDown": 0.5, "eyeSquint": 0.4},
    "pout": {"mouthPucker": 0.8, "browDown": 0.2},
    "press": {"mouthPress": 0.7, "mouthRollLower": 0.4, "mouthDimple": 0.4},
    "squint": {"eyeSquint": 0.9, "cheekSquint": 0.6, "browDown": 0.4},
}
"""Expressions as weights of ICT-FaceKit's shapes; a name without _L or _R stands for both sides."""


@dataclass(frozen=True)
class Shot:
    """The conditions of one photo."""

    yaw: float
    """Radians; positive: the camera stands on the person's left."""
    pitch: float
    """Radians; positive: the camera stands higher than the face."""
    roll: float
    """Radians; positive: the head leans to the picture's right."""
    distance: float
    """Camera to the middle of the head, cm."""
    field: float
    """Width of the picture at that distance, cm."""
    middle: tuple[float, float]
    """How far the point that the camera looks at is moved (x, y), cm."""
    expression: dict[str, float]
    gaze: tuple[float, float]
    """Turn of the eyes against the head (to the person's left, up), radians."""
    key: tuple[np.ndarray, np.ndarray]
    """Unit direction towards the main light (head space), and its linear RGB strength."""
    fill: tuple[np.ndarray, np.ndarray]
    ambient: np.ndarray
    """Linear RGB strength of the light from everywhere."""
    glasses: bool
    cloth: np.ndarray
    """Linear RGB of the clothes."""
    collar: float
    """Height of the neckline: cm."""
    backdrop: int
    """Seed of the background."""
    exposure: float
    """Brightness that the camera aims at, relative to its usual one."""
    contrast: float
    saturation: float
    blur: float
    """Standard deviation, in pixels of a 128-pixel photo."""
    noise: float
    """Standard deviation of the sensor's noise, of 255."""
    quality: int
    """JPEG quality."""


def draw_shot(rng: np.random.Generator, names: tuple[str, ...], glasses: float) -> Shot:
    """Conditions of one photo. names: the head's expression shapes. glasses: how likely the person wears them."""
    yaw = float(np.clip(rng.normal(0, 24), -60, 60)) if rng.random() < 0.75 else float(rng.uniform(-60, 60))
    pitch = float(np.clip(rng.normal(0, 9), -25, 25))
    roll = float(np.clip(rng.normal(0, 5), -15, 15))
    gaze = _gaze(rng, yaw, pitch)
    view = np.radians(yaw)
    around = view + np.radians(rng.uniform(-75, 75))
    up = np.radians(rng.uniform(-5, 60))
    key = _direction(around, up)
    opposite = _direction(view - (around - view) * rng.uniform(0.4, 1.2), np.radians(rng.uniform(-10, 35)))
    warm = rng.uniform(-1, 1)
    hard = rng.uniform(0.4, 1.35)
    return Shot(
        yaw=float(view),
        pitch=float(np.radians(pitch)),
        roll=float(np.radians(roll)),
        distance=float(rng.uniform(65, 170)),
        field=float(26.5 * rng.uniform(0.94, 1.07)),
        middle=(float(rng.normal(0, 0.45)), float(rng.normal(0, 0.45))),
        expression=_expression(rng, names, gaze),
        gaze=gaze,
        key=(key, (hard * _tint(warm + rng.normal(0, 0.3))).astype(np.float32)),
        fill=(opposite, (rng.uniform(0.05, 0.4) * _tint(rng.normal(0, 0.6))).astype(np.float32)),
        ambient=(rng.uniform(0.2, 0.52) * _tint(-0.4 * warm + rng.normal(0, 0.25))).astype(np.float32),
        glasses=bool(rng.random() < glasses),
        cloth=_cloth(rng),
        collar=float(rng.uniform(-17, -12)),
        backdrop=int(rng.integers(2**31)),
        exposure=float(np.exp(rng.normal(0, 0.16))),
        contrast=float(np.exp(rng.normal(0, 0.10))),
        saturation=float(np.clip(np.exp(rng.normal(0, 0.14)), 0.6, 1.35)) if rng.random() > 0.03 else 0.0,
        blur=float(min(rng.gamma(2.0, 0.13), 0.8)),
        noise=float(rng.gamma(1.6, 0.9)),
        quality=int(rng.integers(78, 95)),
    )


def other_view(rng: np.random.Generator, shot: Shot, same: bool) -> Shot:
    """The moment of a photo as a still camera without noise sees it from somewhere else, or from where the photo was
    taken."""
    clean = replace(shot, blur=0.0, noise=0.0, quality=92)
    if same:
        return clean
    yaw, pitch, roll = rng.uniform(-50, 50), np.clip(rng.normal(0, 9), -25, 25), np.clip(rng.normal(0, 5), -15, 15)
    return replace(clean, yaw=float(np.radians(yaw)), pitch=float(np.radians(pitch)), roll=float(np.radians(roll)))


def _gaze(rng: np.random.Generator, yaw: float, pitch: float) -> tuple[float, float]:
    """At the camera in six of ten photos as far as eyes turn, else somewhere near it."""
    if rng.random() < 0.6:
        aim = np.array([yaw, pitch]) + rng.normal(0, 2, 2)
    else:
        aim = np.array([yaw * 0.3, pitch * 0.3]) + rng.normal(0, (13, 7))
    side, up = np.clip(aim, (-32, -18), (32, 16))
    return float(np.radians(side)), float(np.radians(up))


def _expression(rng: np.random.Generator, names: tuple[str, ...], gaze: tuple[float, float]) -> dict[str, float]:
    """Neutral in a third of the photos, else one or two presets; lids follow the gaze; a little of everything."""
    weights = dict.fromkeys(names, 0.0)

    def add(name: str, amount: float, uneven: float = 0.15) -> None:
        sides = [name] if name in weights else [f"{name}_L", f"{name}_R"]
        for side in sides:
            weights[side] += amount * float(np.exp(rng.normal(0, uneven)))

    if rng.random() > 0.33:
        for preset in rng.choice(list(PRESETS), rng.choice([1, 2], p=[0.8, 0.2]), replace=False):
            strength = rng.uniform(0.2, 0.72)
            for name, amount in PRESETS[preset].items():
                add(name, strength * amount)
    for name in rng.choice(names, 4, replace=False):
        if not name.startswith(("eyeLook", "jaw", "mouthClose", "cheekPuff")):
            weights[name] += 0.1 * float(rng.random())
    blink = 0.0 if rng.random() < 0.7 else rng.uniform(0.05, 0.4)
    add("eyeBlink", float(blink), 0.05)
    side, up = gaze
    add("eyeLookUp" if up > 0 else "eyeLookDown", min(1.0, abs(up) / 0.45), 0.0)
    weights["eyeLookOut_L" if side > 0 else "eyeLookIn_L"] += min(1.0, abs(side) / 0.6)
    weights["eyeLookIn_R" if side > 0 else "eyeLookOut_R"] += min(1.0, abs(side) / 0.6)
    return {name: round(min(w, 1.0), 4) for name, w in weights.items() if w > 1e-3}


def _direction(around: float, up: float) -> np.ndarray:
    return np.array([np.sin(around) * np.cos(up), np.sin(up), np.cos(around) * np.cos(up)], np.float32)


def _tint(warm: float) -> np.ndarray:
    """Colour of a light after white balance: 1 is a warm lamp, −1 a blue sky."""
    warm = float(np.clip(warm, -1.6, 1.6))
    return np.exp(np.array([0.13, -0.01, -0.17]) * warm)


def _cloth(rng: np.random.Generator) -> np.ndarray:
    """Mostly muted colours."""
    grey = rng.uniform(0.02, 0.6)
    colour = grey * np.exp(rng.normal(0, rng.choice([0.05, 0.5]), 3))
    return colour.clip(0.01, 0.8).astype(np.float32)
