"""What surfaces look like: patterns laid on them, in metres."""

import numpy as np

from .shapes import Array, Material


def paint(material: Material, points: Array, normals: Array, noise: Array) -> Array:
    """The colour of points, before light.

    Args:
        points: N x 3, metres.
        normals: N x 3; the pattern is laid on along the axis they point along most.
        noise: values in [0, 1] on a square grid, that repeats.

    Returns:
        N x 3, linear RGB.
    """
    u, v = _unwrap(points, normals)
    u, v = u / material.period, v / material.period
    share = _share(material.pattern, u, v, noise)
    if material.mottle > 0:
        spots = value_noise(np.stack([u, v], axis=1) * 2.7, noise, 2)
        share = np.clip(share + material.mottle * (spots - 0.3), 0, 1)
    first, second = np.array(material.color, np.float32), np.array(material.other, np.float32)
    return first + share[:, None] * (second - first)


def _share(pattern: str, u: Array, v: Array, noise: Array) -> Array:
    """How much of the second colour, N in [0, 1]."""
    match pattern:
        case "checker":
            return ((np.floor(u) + np.floor(v)) % 2).astype(np.float32)
        case "stripes":
            return (np.floor(u * 2) % 2).astype(np.float32)
        case "planks":
            joint = (v * 4) % 1 < 0.06
            grain = value_noise(np.stack([u * 0.7, np.floor(v * 4) * 7.3], axis=1), noise, 1)
            return np.where(joint, 1, 0.5 * grain).astype(np.float32)
        case "bricks":
            row = np.floor(v * 3)
            joint = ((v * 3) % 1 < 0.1) | ((u * 1.5 + 0.5 * (row % 2)) % 1 < 0.05)
            return joint.astype(np.float32)
        case "mottled":
            return value_noise(np.stack([u, v], axis=1), noise, 3)
        case _:
            return np.zeros_like(u)


def value_noise(where: Array, noise: Array, octaves: int) -> Array:
    """Smooth noise in [0, 1]: values on a grid, interpolated, at halved scales."""
    total, weight = np.zeros(len(where), np.float32), 0.0
    for octave in range(octaves):
        share = 0.5**octave
        total += np.float32(share) * _interpolate(where * 2**octave + 17.3 * octave, noise)
        weight += share
    return total / np.float32(weight)


def _interpolate(where: Array, noise: Array) -> Array:
    size = len(noise)
    floor = np.floor(where)
    fx, fy = (where - floor).astype(np.float32).T
    x, y = floor.astype(np.int64).T % size
    x1, y1 = (x + 1) % size, (y + 1) % size
    top = noise[y, x] * (1 - fx) + noise[y, x1] * fx
    bottom = noise[y1, x] * (1 - fx) + noise[y1, x1] * fx
    return top * (1 - fy) + bottom * fy


def _unwrap(points: Array, normals: Array) -> tuple[Array, Array]:
    axis = np.abs(normals).argmax(axis=1)
    x, y, z = points.T
    u = np.where(axis == 0, z, x)
    v = np.where(axis == 1, z, y)
    return u, v
