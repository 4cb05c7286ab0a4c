"""The solids of a scene, and where rays meet them.

World coordinates are metres, x to the right, y up, z away from the camera. Every solid stands
upright: it is turned about the vertical axis only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of float32, unless it is said.
Array = NDArray[Any]

#: A ray starts this far along itself, so that a surface does not hide itself, in metres.
EPSILON = np.float32(2e-3)
FAR = np.float32(np.inf)

#: Linear RGB in [0, 1].
Color = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """What a surface looks like: two colours and how they mix."""

    color: Color
    other: Color
    pattern: str = "flat"
    #: Metres for one period of the pattern.
    period: float = 1.0
    #: Share of the second colour that is mottled in, whatever the pattern.
    mottle: float = 0.0
    shine: float = 0.0


@dataclass(frozen=True)
class Box:
    """A box; `size` is width, height, depth."""

    center: tuple[float, float, float]
    size: tuple[float, float, float]
    material: Material
    yaw: float = 0.0

    @property
    def radius(self) -> float:
        return float(np.linalg.norm(self.size)) / 2

    def meet(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        o, d = _turned(origins - _row(self.center), self.yaw), _turned(directions, self.yaw)
        near, far, _, normal = slabs(o, d, np.array(self.size, np.float32) / 2)
        t = np.where((near <= far) & (near > EPSILON), near, FAR)
        return t, _turned(normal, -self.yaw)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; `axes` are its half axes."""

    center: tuple[float, float, float]
    axes: tuple[float, float, float]
    material: Material
    yaw: float = 0.0

    @property
    def radius(self) -> float:
        return max(self.axes)

    def meet(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        axes = np.array(self.axes, np.float32)
        o = _turned(origins - _row(self.center), self.yaw) / axes
        d = _turned(directions, self.yaw) / axes
        a, b, c = _dot(d, d), _dot(o, d), _dot(o, o) - 1
        root = b * b - a * c
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        t = np.where((root > 0) & (t > EPSILON), t, FAR)
        normal = _unit((o + d * _finite(t)[:, None]) / axes)
        return t, _turned(normal, -self.yaw)


@dataclass(frozen=True)
class Frustum:
    """A cylinder or a cone, upright and closed: `low` and `high` are the radii of its ends."""

    center: tuple[float, float, float]
    height: float
    low: float
    high: float
    material: Material

    @property
    def radius(self) -> float:
        return float(np.hypot(self.height / 2, max(self.low, self.high)))

    def meet(self, origins: Array, directions: Array) -> tuple[Array, Array]:
        o, d = origins - _row(self.center), directions
        half = np.float32(self.height / 2)
        slope = np.float32((self.high - self.low) / self.height)
        at = np.float32((self.high + self.low) / 2) + slope * o[:, 1]  # radius at the origin's y
        a = d[:, 0] ** 2 + d[:, 2] ** 2 - (slope * d[:, 1]) ** 2
        b = o[:, 0] * d[:, 0] + o[:, 2] * d[:, 2] - slope * d[:, 1] * at
        c = o[:, 0] ** 2 + o[:, 2] ** 2 - at**2
        a = np.where(np.abs(a) < 1e-7, np.float32(1e-7), a)
        root = b * b - a * c
        t = (-b - np.sign(a) * np.sqrt(np.maximum(root, 0))) / a
        inside = np.abs(o[:, 1] + t * d[:, 1]) <= half
        t = np.where((root > 0) & (t > EPSILON) & inside, t, FAR)
        p = o + d * _finite(t)[:, None]
        out = np.stack([p[:, 0], -slope * np.hypot(p[:, 0], p[:, 2]), p[:, 2]], axis=1)
        normal = _unit(out)
        # The flat end that faces the ray.
        side = -np.sign(d[:, 1])
        flat = (side * half - o[:, 1]) / np.where(d[:, 1] == 0, np.float32(1e-9), d[:, 1])
        end = np.where(side > 0, np.float32(self.high), np.float32(self.low))
        across = (o[:, 0] + flat * d[:, 0]) ** 2 + (o[:, 2] + flat * d[:, 2]) ** 2
        capped = (across <= end**2) & (flat > EPSILON) & (flat < t)
        cap = np.zeros_like(normal)
        cap[:, 1] = side
        return np.where(capped, flat, t), np.where(capped[:, None], cap, normal)


#: What has a `center` and a bounding `radius`, a `material`, and `meet`: where rays enter it, of
#: which it is given the origins, N x 3, and the directions, N x 3 of length 1. It gives their
#: distances, N, infinite where they miss, and the outer normals there, N x 3.
Solid = Box | Ellipsoid | Frustum


def vector(x: float, y: float, z: float) -> tuple[float, float, float]:
    """Three of NumPy's numbers as Python's."""
    return float(x), float(y), float(z)


def slabs(o: Array, d: Array, half: Array) -> tuple[Array, Array, Array, Array]:
    """Where rays enter and leave a box about the origin with the half edges `half`.

    Returns:
        Two distances, N each; the index of the face of the second, N: axis x 2, and 1 more on the
        positive side; the outer normal of the first, N x 3.
    """
    safe = np.where(np.abs(d) < 1e-9, np.float32(1e-9), d)
    a, b = (-half - o) / safe, (half - o) / safe
    low, high = np.minimum(a, b), np.maximum(a, b)
    rows = np.arange(len(o))
    first, last = low.argmax(axis=1), high.argmin(axis=1)
    normal = np.zeros_like(o)
    normal[rows, first] = -np.sign(safe[rows, first])
    return low[rows, first], high[rows, last], last * 2 + (safe[rows, last] > 0), normal


def _turned(vectors: Array, yaw: float) -> Array:
    if yaw == 0:
        return vectors
    sin, cos = np.float32(np.sin(yaw)), np.float32(np.cos(yaw))
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return np.stack([cos * x - sin * z, y, sin * x + cos * z], axis=1)


def _row(vector: tuple[float, float, float]) -> Array:
    return np.array(vector, np.float32)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("ij,ij->i", a, b)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), np.float32(1e-9))[:, None]


def _finite(t: Array) -> Array:
    return np.where(np.isfinite(t), t, np.float32(0))
