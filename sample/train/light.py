"""The light that comes from what rays have met: pattern, lamp or sun, shadow, air and sky."""

import numpy as np
from numpy.typing import NDArray

from .scenes import Scene
from .shapes import EPSILON, FAR, Array, Material
from .surface import paint, value_noise
from .trace import Hits, near_misses

SHARPNESS = 32  # of highlights: Blinn and Phong's exponent


def shade(scene: Scene, hits: Hits, noise: Array) -> Array:
    """The light along each ray, N x 3, linear RGB.

    Args:
        noise: values in [0, 1] on a square grid, for all that is irregular.
    """
    color = np.empty_like(hits.directions)
    shine = np.empty_like(hits.distances)
    for surface in np.unique(hits.surfaces):
        mask = hits.surfaces == surface
        material = _material_of(scene, int(surface))
        color[mask] = paint(material, hits.points[mask], hits.normals[mask], noise)
        shine[mask] = material.shine
    color *= _light(scene, hits, shine)
    if scene.fog > 0:
        clear = np.exp(-scene.fog * np.where(hits.found, hits.distances, 0))[:, None]
        color = color * clear + np.array(scene.horizon, np.float32) * (1 - clear)
    sky = ~hits.found
    if sky.any():
        color[sky] = _sky(scene, hits.directions[sky], noise)
    return color


def _material_of(scene: Scene, surface: int) -> Material:
    if surface >= 0:
        return scene.solids[surface].material
    return scene.ground if scene.room is None else scene.walls[~surface]


def _light(scene: Scene, hits: Hits, shine: Array) -> Array:
    to_light, distance, fall = _towards_light(scene, hits.points)
    facing = np.einsum("ij,ij->i", hits.normals, to_light)
    lit = hits.found & (facing > 0)
    lit[lit] = ~_shadowed(scene, hits, to_light, distance, np.flatnonzero(lit))
    direct = np.where(lit, facing, 0) * fall
    half = to_light - hits.directions
    half /= np.sqrt(np.einsum("ij,ij->i", half, half))[:, None] + np.float32(1e-6)
    gloss = np.clip(np.einsum("ij,ij->i", hits.normals, half), 0, 1) ** SHARPNESS
    ambient = np.float32(scene.ambient) * (0.75 + 0.25 * hits.normals[:, 1])
    strength = direct * (1 + 2 * shine * gloss)
    return ambient[:, None] + strength[:, None] * np.array(scene.light_color, np.float32)


def _towards_light(scene: Scene, points: Array) -> tuple[Array, Array, Array]:
    """Directions to the sun or the lamp, how far it is, and how much of its light arrives."""
    light = np.array(scene.light, np.float32)
    if scene.room is None:
        far = np.full(len(points), FAR)
        return np.broadcast_to(light, points.shape), far, np.ones(1, np.float32)
    to_light = light - points
    distance = np.sqrt(np.einsum("ij,ij->i", to_light, to_light)) + np.float32(1e-6)
    return to_light / distance[:, None], distance, 1 / (0.5 + 0.06 * distance**2)


def _shadowed(
    scene: Scene, hits: Hits, to_light: Array, distance: Array, lit: NDArray[np.intp]
) -> NDArray[np.bool_]:
    """Whether something is between the light and each of the points `lit`."""
    origins = hits.points[lit] + hits.normals[lit] * EPSILON * 2
    directions, distance = to_light[lit], distance[lit]
    shadow = np.zeros(len(lit), bool)
    for _, solid, near in near_misses(scene.solids, origins, directions):
        rays = near[~shadow[near]]
        hit, _ = solid.meet(origins[rays], directions[rays])
        shadow[rays[hit < distance[rays]]] = True
    return shadow


def _sky(scene: Scene, directions: Array, noise: Array) -> Array:
    up = np.clip(directions[:, 1:2], 0, 1)
    blend = np.clip(up * 2.2, 0, 1) ** 0.7
    color = np.array(scene.horizon) * (1 - blend) + np.array(scene.zenith) * blend
    azimuth = np.arctan2(directions[:, 0], directions[:, 2])
    if scene.clouds > 0:
        flat = directions[:, [0, 2]] / (up + 0.15)
        cloud = np.clip(value_noise(flat * 2, noise, 3) * 2.2 - 0.9, 0, 1)[:, None]
        color = color * (1 - scene.clouds * cloud) + 0.95 * scene.clouds * cloud
    if scene.hills > 0:
        ridge = scene.hills * value_noise(np.stack([azimuth * 3, azimuth * 0], axis=1), noise, 4)
        hill = (directions[:, 1] < ridge)[:, None]
        color = np.where(hill, 0.6 * color + 0.4 * np.array([0.25, 0.33, 0.38]), color)
    return color.astype(np.float32)
