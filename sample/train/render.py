"""From a scene to a picture, its disparity and its normals, by casting one ray a pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .photograph import photograph
from .scenes import Scene, draw_scene
from .shapes import EPSILON, FAR, Array, Material, Solid, slabs
from .surface import paint, value_noise

#: The share of pixels that may be nearer than what counts as the nearest, against a single near corner.
NEAREST = 0.995


@dataclass
class View:
    """A rendered scene.

    Attributes:
        rgb: H x W x 3, uint8, sRGB.
        disparity: H x W, float32 in [0, 1]: one over the depth along the optical axis, divided by
            that of the nearest surfaces. 0 is the sky. It has no unit, and its zero is true.
        normals: H x W x 3, float32, in camera coordinates: x right, y up, z towards the camera;
            zero in the sky.
    """

    rgb: NDArray[np.uint8]
    disparity: Array
    normals: Array


def render(stream: int, index: int, width: int, height: int, samples: int = 1) -> View:
    """The view of a seed.

    Args:
        stream, index: the seed; see `scenes`.
        width, height: pixels.
        samples: rays a pixel along each edge; the picture is their mean, the others the first's.
    """
    scene, rng = draw_scene(stream, index)
    w, h = width * samples, height * samples
    directions, depth_of, to_camera = _rays(scene, w, h)
    origin = np.array([0, scene.camera.height, 0], np.float32)
    t, which, normals = trace(scene, np.broadcast_to(origin, directions.shape), directions)
    points = origin + directions * np.where(np.isfinite(t), t, 0)[:, None]
    color = _shade(scene, points, directions, t, which, normals, rng)
    linear = color.reshape(height, samples, width, samples, 3).mean(axis=(1, 3))
    with np.errstate(divide="ignore"):
        disparity = np.where(np.isfinite(t), 1 / (t * depth_of), 0).astype(np.float32)
    disparity = disparity.reshape(h, w)[::samples, ::samples]
    seen = np.where(np.isfinite(t)[:, None], normals @ to_camera, 0)
    return View(
        rgb=photograph(linear.astype(np.float32), rng),
        disparity=np.clip(disparity / max(np.quantile(disparity, NEAREST), 1e-6), 0, 1),
        normals=seen.reshape(h, w, 3)[::samples, ::samples].astype(np.float32),
    )


def _rays(scene: Scene, width: int, height: int) -> tuple[Array, Array, Array]:
    """Directions, the cosine of each to the optical axis, and the turn from world to camera."""
    camera = scene.camera
    reach = np.tan(camera.fov / 2) / max(width, height)
    x = (np.arange(width, dtype=np.float32) * 2 + 1 - width) * reach
    y = (height - 1 - np.arange(height, dtype=np.float32) * 2) * reach
    grid = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1).reshape(-1, 3)
    cosine = 1 / np.sqrt((grid**2).sum(axis=1))
    sin, cos = np.sin(camera.roll), np.cos(camera.roll)
    roll = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    sin, cos = np.sin(camera.pitch), np.cos(camera.pitch)
    pitch = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    turn = roll @ pitch  # row vectors: first roll, then pitch
    directions = (grid * cosine[:, None]) @ turn
    to_camera = turn.T * np.array([1, 1, -1])
    return directions.astype(np.float32), cosine.astype(np.float32), to_camera.astype(np.float32)


def trace(scene: Scene, origins: Array, directions: Array) -> tuple[Array, NDArray, Array]:
    """The first surface along each ray.

    Returns:
        Distances, N, infinite in the sky; which surface, N: an index into `scene.solids`, or
        `~side` of the room, or ~2 for the ground; normals, N x 3.
    """
    t, which, normals = _surroundings(scene, origins, directions)
    for number, solid, rays in _near_misses(scene.solids, origins, directions):
        hit, normal = solid.meet(origins[rays], directions[rays])
        first = hit < t[rays]
        rays = rays[first]
        t[rays], which[rays], normals[rays] = hit[first], number, normal[first]
    return t, which, normals


def _surroundings(scene: Scene, origins: Array, directions: Array):
    normals = np.zeros_like(directions)
    if scene.room is None:
        down = directions[:, 1] < -1e-4
        t = np.where(down, -origins[:, 1] / np.where(down, directions[:, 1], -1), FAR)
        normals[:, 1] = 1
        return t.astype(np.float32), np.full(len(t), ~2), normals
    low, high = np.array(scene.room, np.float32).T
    middle = (low + high) / 2
    _, t, side, _ = slabs(origins - middle, directions, (high - low) / 2)
    axis = side // 2
    normals[np.arange(len(t)), axis] = -np.sign(directions[np.arange(len(t)), axis])
    return t.astype(np.float32), ~side, normals


def _near_misses(solids: list[Solid], origins: Array, directions: Array):
    """Each solid with the rays that meet its bounding sphere."""
    if not solids:
        return
    centers = np.array([solid.center for solid in solids], np.float32)
    radii = np.array([solid.radius for solid in solids], np.float32)
    along = directions @ centers.T - np.einsum("ij,ij->i", origins, directions)[:, None]
    apart = (
        (centers**2).sum(axis=1)
        - 2 * (origins @ centers.T)
        + np.einsum("ij,ij->i", origins, origins)[:, None]
    )
    meets = (apart - along**2 < radii**2) & (along > -radii)
    for number, solid in enumerate(solids):
        rays = np.flatnonzero(meets[:, number])
        if len(rays) > 0:
            yield number, solid, rays


def _shade(scene: Scene, points, directions, t, which, normals, rng) -> Array:
    color = np.empty_like(directions)
    noise = rng.random((64, 64), dtype=np.float32)
    for surface in np.unique(which):
        mask = which == surface
        material = _material_of(scene, int(surface))
        color[mask] = paint(material, points[mask], normals[mask], noise)
    outside = ~np.isfinite(t)
    color *= _light(scene, points, directions, which, normals, ~outside)
    if scene.fog > 0:
        clear = np.exp(-scene.fog * np.where(outside, 0, t))[:, None]
        color = color * clear + np.array(scene.horizon, np.float32) * (1 - clear)
    if outside.any():
        color[outside] = _sky(scene, directions[outside], noise)
    return color


def _material_of(scene: Scene, surface: int) -> Material:
    if surface >= 0:
        return scene.solids[surface].material
    return scene.ground if scene.room is None else scene.walls[~surface]


def _light(scene: Scene, points, directions, which, normals, lit) -> Array:
    towards = np.array(scene.light, np.float32)
    if scene.room is None:
        to_light = np.broadcast_to(towards, points.shape)
        distance, fall = np.full(len(points), FAR), np.float32(1)
    else:
        to_light = towards - points
        distance = np.sqrt(np.einsum("ij,ij->i", to_light, to_light)) + np.float32(1e-6)
        to_light = to_light / distance[:, None]
        fall = 1 / (0.5 + 0.06 * distance**2)
    facing = np.einsum("ij,ij->i", normals, to_light)
    candidates = lit & (facing > 0)
    shadow = _shadowed(scene.solids, points, to_light, distance, normals, candidates)
    direct = np.where(candidates & ~shadow, facing, 0) * fall
    half = to_light - directions
    half /= np.sqrt(np.einsum("ij,ij->i", half, half))[:, None] + np.float32(1e-6)
    gloss = np.clip(np.einsum("ij,ij->i", normals, half), 0, 1) ** 32
    shine = np.array([_material_of(scene, int(s)).shine for s in np.unique(which)], np.float32)
    shine = shine[np.searchsorted(np.unique(which), which)]
    sky = np.float32(scene.ambient) * (0.75 + 0.25 * normals[:, 1])
    strength = direct * (1 + 2 * shine * gloss)
    return sky[:, None] + strength[:, None] * np.array(scene.light_color, np.float32)


def _shadowed(solids, points, to_light, distance, normals, candidates) -> NDArray[np.bool_]:
    shadow = np.zeros(len(points), bool)
    chosen = np.flatnonzero(candidates)
    origins = points[chosen] + normals[chosen] * EPSILON * 2
    for _, solid, rays in _near_misses(solids, origins, to_light[chosen]):
        rays = rays[~shadow[chosen[rays]]]
        hit, _ = solid.meet(origins[rays], to_light[chosen[rays]])
        shadow[chosen[rays[hit < distance[chosen[rays]]]]] = True
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
