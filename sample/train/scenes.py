"""What is in a scene: drawn from a seed, and nothing else.

Half of the scenes are rooms, half are outdoors: streets, parks and fields. A seed is a pair of
numbers, a stream and an index, so that what is trained on and what is held out never meet.
"""

from dataclasses import dataclass, field

import numpy as np

from .shapes import Box, Ellipsoid, Frustum, Material, Solid

PATTERNS = ("flat", "flat", "checker", "stripes", "planks", "bricks", "mottled", "mottled")

#: Streams of seeds. The held-out ones were fixed before the first training run.
TRAINING, HELD_OUT, SHOWN = 1, 2, 3
#: What is evaluated on: (HELD_OUT, 0) to (HELD_OUT, 499), at 320x240.
HELD_OUT_COUNT, HELD_OUT_SIZE = 500, (320, 240)


@dataclass
class Camera:
    """Where the camera stands: metres, radians; `fov` is across the longer edge."""

    height: float
    pitch: float
    roll: float
    fov: float


@dataclass
class Scene:
    """A scene to be drawn; a room where there are walls, else outdoors."""

    camera: Camera
    solids: list[Solid]
    ground: Material
    #: Of the room: x and y and z from and to, and the six materials of its sides.
    room: tuple[tuple[float, float], tuple[float, float], tuple[float, float]] | None = None
    walls: list[Material] = field(default_factory=list)
    #: Towards the sun, or where the lamp hangs.
    light: tuple[float, float, float] = (0.3, 0.8, -0.4)
    light_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ambient: float = 0.4
    #: Extinction per metre, and the colour of the air and of the sky above.
    fog: float = 0.0
    horizon: tuple[float, float, float] = (0.8, 0.85, 0.9)
    zenith: tuple[float, float, float] = (0.3, 0.5, 0.8)
    clouds: float = 0.0
    #: Hills at the horizon: their height in radians, 0: none.
    hills: float = 0.0


def draw_scene(stream: int, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene of a seed, and the generator that its picture goes on with."""
    rng = np.random.default_rng([stream, index])
    return (_room(rng) if rng.random() < 0.5 else _outdoors(rng)), rng


def _color(rng: np.random.Generator, dark: float = 0.05, pale: float = 0.9):
    saturation = rng.beta(1.2, 2.5)
    value, hue = rng.uniform(dark, pale), rng.random(3)
    mixed = value * ((1 - saturation) + saturation * hue / max(hue.max(), 1e-3))
    return tuple(float(c) for c in np.clip(mixed, 0.01, 0.95))


def _material(rng: np.random.Generator, patterns=PATTERNS, scale: float = 1.0) -> Material:
    return Material(
        color=_color(rng),
        other=_color(rng),
        pattern=str(rng.choice(patterns)),
        period=float(scale * np.exp(rng.uniform(np.log(0.15), np.log(1.5)))),
        mottle=float(rng.choice([0.0, rng.uniform(0.1, 0.5)])),
        shine=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.6)])),
    )


def _tinted(rng: np.random.Generator, base, spread=0.08, **more) -> Material:
    def near():
        return tuple(float(np.clip(c + rng.normal(0, spread), 0.01, 0.95)) for c in base)

    return Material(color=near(), other=near(), **more)


def _room(rng: np.random.Generator) -> Scene:
    width, depth = rng.uniform(2.8, 9), rng.uniform(3.5, 14)
    height = rng.uniform(2.3, 4.2)
    left = -width * rng.uniform(0.25, 0.75)
    room = ((left, left + width), (0.0, height), (-rng.uniform(0.3, 1.5), depth))
    camera = Camera(
        height=float(min(rng.normal(1.45, 0.35), height - 0.3)),
        pitch=float(rng.normal(-0.12, 0.14)),
        roll=float(rng.normal(0, 0.02)),
        fov=float(rng.uniform(0.8, 1.5)),
    )
    camera.height = max(camera.height, 0.5)
    wall = _material(rng, ("flat", "flat", "stripes", "bricks", "mottled"))
    walls = [wall if rng.random() < 0.6 else _material(rng) for _ in range(6)]
    walls[2] = _material(rng, ("flat", "checker", "planks", "planks", "mottled"))
    walls[3] = _tinted(rng, (0.8, 0.8, 0.78))
    solids: list[Solid] = []
    for _ in range(rng.integers(2, 9)):
        make = FURNITURE[rng.integers(len(FURNITURE))]
        x = rng.uniform(room[0][0] + 0.4, room[0][1] - 0.4)
        z = rng.uniform(1.2, max(depth - 0.3, 1.5))
        solids += make(rng, float(x), float(z))
    for _ in range(rng.integers(0, 4)):
        solids.append(_picture(rng, room))
    lamp = (rng.uniform(*room[0]) * 0.7, height - 0.15, rng.uniform(0.5, depth * 0.8))
    warm = rng.uniform(0, 0.3)
    return Scene(
        camera=camera,
        solids=solids,
        ground=walls[2],
        room=room,
        walls=walls,
        light=tuple(float(c) for c in lamp),
        light_color=(1.0, 1.0 - warm * 0.5, 1.0 - warm),
        ambient=float(rng.uniform(0.25, 0.6)),
        fog=0.0 if rng.random() < 0.8 else float(rng.uniform(0.005, 0.04)),
        horizon=_color(rng, 0.5),
    )


def _outdoors(rng: np.random.Generator) -> Scene:
    camera = Camera(
        height=float(np.exp(rng.normal(np.log(1.6), 0.35))),
        pitch=float(rng.normal(-0.08, 0.1)),
        roll=float(rng.normal(0, 0.02)),
        fov=float(rng.uniform(0.7, 1.4)),
    )
    grass, stone = (0.2, 0.32, 0.1), (0.4, 0.38, 0.36)
    ground = _tinted(
        rng,
        grass if rng.random() < 0.5 else stone,
        0.1,
        pattern=str(rng.choice(["mottled", "mottled", "flat", "checker", "bricks"])),
        period=float(rng.uniform(0.4, 2.5)),
        mottle=float(rng.uniform(0.1, 0.6)),
    )
    solids: list[Solid] = []
    kind = rng.choice(["street", "park", "field"])
    if kind == "street":
        solids += _houses(rng)
    for _ in range(rng.integers(3, 14 if kind != "field" else 7)):
        make = OUTSIDE[rng.integers(len(OUTSIDE))]
        nearest = 5.0 if make in (_tree, _car) else 2.2
        z = float(np.exp(rng.uniform(np.log(nearest), np.log(35))))
        x = float(rng.uniform(-0.65, 0.65) * (z + 1))
        solids += make(rng, x, z)
    azimuth, above = rng.uniform(-np.pi, np.pi), rng.uniform(0.25, 1.3)
    sun = (np.cos(above) * np.sin(azimuth), np.sin(above), np.cos(above) * np.cos(azimuth))
    grey = rng.uniform(0.6, 0.95)
    return Scene(
        camera=camera,
        solids=solids,
        ground=ground,
        light=tuple(float(c) for c in sun),
        light_color=(1.0, float(rng.uniform(0.8, 1)), float(rng.uniform(0.65, 1))),
        ambient=float(rng.uniform(0.3, 0.7)),
        fog=0.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(np.log(0.003), np.log(0.06)))),
        horizon=tuple(float(grey * c) for c in rng.uniform(0.9, 1.05, 3)),
        zenith=(float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.3, 0.65)), float(grey)),
        clouds=float(rng.choice([0.0, rng.uniform(0.2, 0.9)])),
        hills=float(rng.choice([0.0, rng.uniform(0.02, 0.15)])),
    )


def _crate(rng, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.25, 1.4), rng.uniform(0.25, 1.8), rng.uniform(0.25, 1.2)
    return [Box((x, h / 2, z), (w, h, d), _material(rng, scale=0.5), rng.uniform(0, np.pi))]


def _ball(rng, x: float, z: float) -> list[Solid]:
    r = rng.uniform(0.12, 0.6)
    return [Ellipsoid((x, r, z), (r, r, r), _material(rng, scale=0.5))]


def _post(rng, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(0.4, 2.4), rng.uniform(0.06, 0.4)
    top = r * rng.choice([1.0, 1.0, rng.uniform(0.3, 1.2)])
    return [Frustum((x, h / 2, z), h, r, float(top), _material(rng, scale=0.5))]


def _cone(rng, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(0.4, 1.6), rng.uniform(0.15, 0.6)
    return [Frustum((x, h / 2, z), h, r, 0.0, _material(rng, scale=0.4))]


def _table(rng, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.6, 2.0), rng.uniform(0.4, 0.95), rng.uniform(0.5, 1.1)
    wood, yaw = _material(rng, scale=0.5), rng.uniform(0, np.pi)
    parts: list[Solid] = [Box((x, h, z), (w, 0.06, d), wood, yaw)]
    sin, cos = np.sin(yaw), np.cos(yaw)
    for a in (-0.45, 0.45):
        for b in (-0.42, 0.42):
            dx, dz = cos * a * w + sin * b * d, -sin * a * w + cos * b * d
            parts.append(Frustum((x + dx, h / 2, z + dz), h, 0.035, 0.035, wood))
    if rng.random() < 0.6:
        r = rng.uniform(0.08, 0.2)
        parts.append(Ellipsoid((x, h + 0.03 + r, z), (r, r, r), _material(rng, scale=0.3)))
    return parts


def _chair(rng, x: float, z: float) -> list[Solid]:
    w, h, yaw, cloth = (
        rng.uniform(0.4, 0.9),
        rng.uniform(0.35, 0.5),
        rng.uniform(0, 6.3),
        _material(rng, scale=0.4),
    )
    back = (x + np.sin(yaw) * w * 0.45, h + 0.3, z + np.cos(yaw) * w * 0.45)
    return [
        Box((x, h * 0.6, z), (w, h * 0.8, w), cloth, yaw),
        Box(back, (w, 0.7, 0.1), cloth, yaw),
    ]


def _shelf(rng, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.6, 1.8), rng.uniform(1.0, 2.2), rng.uniform(0.25, 0.5)
    yaw = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
    return [Box((x, h / 2, z), (w, h, d), _material(rng, scale=0.6), yaw)]


def _person(rng, x: float, z: float) -> list[Solid]:
    h = rng.uniform(1.1, 1.95)
    skin, hair = rng.uniform(0.15, 0.8), _color(rng, 0.02, 0.5)
    face = Material((skin, skin * 0.75, skin * 0.6), hair)
    shirt, trousers = _material(rng, scale=0.2), _material(rng, ("flat", "mottled"), 0.3)
    stride, yaw = rng.uniform(0.06, 0.14) * h / 1.7, rng.uniform(0, np.pi)
    dx, dz = np.cos(yaw) * stride, -np.sin(yaw) * stride
    parts: list[Solid] = [
        Ellipsoid((x, 0.92 * h, z), (0.055 * h, 0.075 * h, 0.06 * h), face),
        Ellipsoid((x, 0.66 * h, z), (0.13 * h, 0.2 * h, 0.08 * h), shirt, yaw),
    ]
    for side in (-1, 1):
        leg = (x + side * dx, 0.24 * h, z + side * dz)
        parts.append(Frustum(leg, 0.48 * h, 0.04 * h, 0.055 * h, trousers))
        arm = (x + side * dx * 1.9, 0.62 * h, z + side * dz * 1.9)
        parts.append(Ellipsoid(arm, (0.035 * h, 0.19 * h, 0.035 * h), shirt))
    return parts


def _tree(rng, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(2.0, 7.5), rng.uniform(0.07, 0.25)
    bark = _tinted(rng, (0.25, 0.17, 0.1), pattern="mottled", period=0.2)
    leaf = _tinted(
        rng,
        (0.12, 0.3, 0.08),
        0.12,
        pattern="mottled",
        period=float(rng.uniform(0.15, 0.5)),
        mottle=0.6,
    )
    parts: list[Solid] = [Frustum((x, h * 0.3, z), h * 0.6, r, r * 0.6, bark)]
    if rng.random() < 0.4:
        for i in range(3):
            low, y = h * (0.26 - 0.06 * i), h * (0.42 + 0.2 * i)
            parts.append(Frustum((x, y, z), h * 0.35, low, 0.02, leaf))
        return parts
    for _ in range(rng.integers(2, 6)):
        size = h * rng.uniform(0.12, 0.26)
        at = (
            x + rng.normal(0, 0.1) * h,
            h * rng.uniform(0.6, 0.85),
            z + rng.normal(0, 0.1) * h,
        )
        parts.append(Ellipsoid(at, (size, size * rng.uniform(0.7, 1.0), size), leaf))
    return parts


def _bush(rng, x: float, z: float) -> list[Solid]:
    leaf = _tinted(rng, (0.15, 0.3, 0.1), 0.12, pattern="mottled", period=0.2, mottle=0.5)
    w, h = rng.uniform(0.3, 1.2), rng.uniform(0.25, 0.9)
    return [Ellipsoid((x, h * 0.7, z), (w, h, w * rng.uniform(0.6, 1.0)), leaf)]


def _car(rng, x: float, z: float) -> list[Solid]:
    paint = Material(_color(rng), _color(rng), shine=0.5)
    glass, rubber = (
        Material((0.1, 0.12, 0.15), (0, 0, 0), shine=0.6),
        Material((0.03,) * 3, (0,) * 3),
    )
    yaw = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1))
    return [
        Box((x, 0.62, z), (4.0, 0.6, 1.7), paint, yaw),
        Box((x, 1.15, z), (2.1, 0.5, 1.5), glass, yaw),
        Box((x, 0.2, z), (3.2, 0.4, 1.5), rubber, yaw),
    ]


def _houses(rng) -> list[Solid]:
    """Two rows of fronts along a street."""
    parts: list[Solid] = []
    half = rng.uniform(3.5, 8)
    for side in (-1, 1):
        z = rng.uniform(-4, 4)
        while z < 60 and len(parts) < 18:
            length, deep = rng.uniform(5, 14), 8.0
            h = rng.uniform(3.5, 14)
            wall = _material(rng, ("bricks", "flat", "stripes", "checker", "planks"), 2.0)
            x = side * (half + deep / 2 + rng.uniform(0, 1.0))
            parts.append(Box((x, h / 2, z + length / 2), (deep, h, length), wall))
            z += length + rng.choice([0.0, rng.uniform(0, 6)])
    return parts


def _picture(rng, room) -> Box:
    """A flat box on a wall."""
    w, h, y = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.2), rng.uniform(1.2, 1.9)
    paint = _material(rng, scale=0.4)
    (left, right), _, (_, depth) = room
    if rng.random() < 0.4:
        return Box((rng.uniform(left + 0.5, right - 0.5), y, depth - 0.02), (w, h, 0.04), paint)
    x = left + 0.02 if rng.random() < 0.5 else right - 0.02
    return Box((x, y, rng.uniform(1.5, depth)), (0.04, h, w), paint)


FURNITURE = (_crate, _crate, _ball, _post, _cone, _table, _table, _chair, _shelf, _person, _person)
OUTSIDE = (_crate, _ball, _post, _cone, _person, _person, _tree, _tree, _tree, _bush, _car)
