"""What stands in scenes: each made of a few solids, at a place on the ground."""

import numpy as np
from numpy.random import Generator

from .materials import color, material, tinted
from .shapes import Box, Ellipsoid, Frustum, Material, Solid

Span = tuple[float, float]
#: x, y and z of a room, from and to, in metres.
Room = tuple[Span, Span, Span]


def crate(rng: Generator, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.25, 1.4), rng.uniform(0.25, 1.8), rng.uniform(0.25, 1.2)
    return [Box((x, h / 2, z), (w, h, d), material(rng, scale=0.5), rng.uniform(0, np.pi))]


def ball(rng: Generator, x: float, z: float) -> list[Solid]:
    r = rng.uniform(0.12, 0.6)
    return [Ellipsoid((x, r, z), (r, r, r), material(rng, scale=0.5))]


def post(rng: Generator, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(0.4, 2.4), rng.uniform(0.06, 0.4)
    top = r * rng.choice([1.0, 1.0, rng.uniform(0.3, 1.2)])
    return [Frustum((x, h / 2, z), h, r, float(top), material(rng, scale=0.5))]


def cone(rng: Generator, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(0.4, 1.6), rng.uniform(0.15, 0.6)
    return [Frustum((x, h / 2, z), h, r, 0.0, material(rng, scale=0.4))]


def table(rng: Generator, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.6, 2.0), rng.uniform(0.4, 0.95), rng.uniform(0.5, 1.1)
    wood, yaw = material(rng, scale=0.5), rng.uniform(0, np.pi)
    parts: list[Solid] = [Box((x, h, z), (w, 0.06, d), wood, yaw)]
    sin, cos = np.sin(yaw), np.cos(yaw)
    for a in (-0.45, 0.45):
        for b in (-0.42, 0.42):
            dx, dz = cos * a * w + sin * b * d, -sin * a * w + cos * b * d
            parts.append(Frustum((x + dx, h / 2, z + dz), h, 0.035, 0.035, wood))
    if rng.random() < 0.6:
        r = rng.uniform(0.08, 0.2)
        parts.append(Ellipsoid((x, h + 0.03 + r, z), (r, r, r), material(rng, scale=0.3)))
    return parts


def chair(rng: Generator, x: float, z: float) -> list[Solid]:
    w, h, yaw, cloth = (
        rng.uniform(0.4, 0.9),
        rng.uniform(0.35, 0.5),
        rng.uniform(0, 6.3),
        material(rng, scale=0.4),
    )
    back = (x + np.sin(yaw) * w * 0.45, h + 0.3, z + np.cos(yaw) * w * 0.45)
    return [
        Box((x, h * 0.6, z), (w, h * 0.8, w), cloth, yaw),
        Box(back, (w, 0.7, 0.1), cloth, yaw),
    ]


def shelf(rng: Generator, x: float, z: float) -> list[Solid]:
    w, h, d = rng.uniform(0.6, 1.8), rng.uniform(1.0, 2.2), rng.uniform(0.25, 0.5)
    yaw = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
    return [Box((x, h / 2, z), (w, h, d), material(rng, scale=0.6), yaw)]


def person(rng: Generator, x: float, z: float) -> list[Solid]:
    h = rng.uniform(1.1, 1.95)
    skin, hair = rng.uniform(0.15, 0.8), color(rng, 0.02, 0.5)
    face = Material((skin, skin * 0.75, skin * 0.6), hair)
    shirt, trousers = material(rng, scale=0.2), material(rng, ("flat", "mottled"), 0.3)
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


def tree(rng: Generator, x: float, z: float) -> list[Solid]:
    h, r = rng.uniform(2.0, 7.5), rng.uniform(0.07, 0.25)
    bark = tinted(rng, (0.25, 0.17, 0.1), pattern="mottled", period=0.2)
    leaf = tinted(
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


def bush(rng: Generator, x: float, z: float) -> list[Solid]:
    leaf = tinted(rng, (0.15, 0.3, 0.1), 0.12, pattern="mottled", period=0.2, mottle=0.5)
    w, h = rng.uniform(0.3, 1.2), rng.uniform(0.25, 0.9)
    return [Ellipsoid((x, h * 0.7, z), (w, h, w * rng.uniform(0.6, 1.0)), leaf)]


def car(rng: Generator, x: float, z: float) -> list[Solid]:
    paint = Material(color(rng), color(rng), shine=0.5)
    glass, rubber = (
        Material((0.1, 0.12, 0.15), (0, 0, 0), shine=0.6),
        Material((0.03, 0.03, 0.03), (0, 0, 0)),
    )
    yaw = float(rng.choice([0.0, np.pi / 2]) + rng.normal(0, 0.1))
    return [
        Box((x, 0.62, z), (4.0, 0.6, 1.7), paint, yaw),
        Box((x, 1.15, z), (2.1, 0.5, 1.5), glass, yaw),
        Box((x, 0.2, z), (3.2, 0.4, 1.5), rubber, yaw),
    ]


def houses(rng: Generator) -> list[Solid]:
    """Two rows of fronts along a street."""
    parts: list[Solid] = []
    half = rng.uniform(3.5, 8)
    for side in (-1, 1):
        z = rng.uniform(-4, 4)
        while z < 60 and len(parts) < 18:
            length, deep = rng.uniform(5, 14), 8.0
            h = rng.uniform(3.5, 14)
            wall = material(rng, ("bricks", "flat", "stripes", "checker", "planks"), 2.0)
            x = side * (half + deep / 2 + rng.uniform(0, 1.0))
            parts.append(Box((x, h / 2, z + length / 2), (deep, h, length), wall))
            z += length + rng.choice([0.0, rng.uniform(0, 6)])
    return parts


def picture(rng: Generator, room: Room) -> Box:
    """A flat box on a wall."""
    w, h, y = rng.uniform(0.3, 1.4), rng.uniform(0.3, 1.2), rng.uniform(1.2, 1.9)
    paint = material(rng, scale=0.4)
    (left, right), _, (_, depth) = room
    if rng.random() < 0.4:
        return Box((rng.uniform(left + 0.5, right - 0.5), y, depth - 0.02), (w, h, 0.04), paint)
    x = left + 0.02 if rng.random() < 0.5 else right - 0.02
    return Box((x, y, rng.uniform(1.5, depth)), (0.04, h, w), paint)
