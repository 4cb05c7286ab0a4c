"""Which surface each ray meets first."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .scenes import Scene
from .shapes import FAR, Array, Solid, slabs

GROUND = ~2  # the floor's number among a room's sides


@dataclass
class Hits:
    """What N rays have met.

    Attributes:
        directions: N x 3, of length 1.
        distances: N, metres; infinite in the sky.
        surfaces: N; an index into the scene's solids, or `~side` of its room, or `GROUND`.
        normals: N x 3, outwards.
        points: N x 3; the origin in the sky.
    """

    directions: Array
    distances: Array
    surfaces: NDArray[np.intp]
    normals: Array
    points: Array

    @property
    def found(self) -> NDArray[np.bool_]:
        return np.isfinite(self.distances)


def trace(scene: Scene, origin: Array, directions: Array) -> Hits:
    """Follow rays from one point.

    Args:
        origin: 3.
        directions: N x 3, of length 1.
    """
    origins = np.broadcast_to(origin, directions.shape)
    distances, surfaces, normals = _surroundings(scene, origins, directions)
    for number, solid, near in near_misses(scene.solids, origins, directions):
        hit, normal = solid.meet(origins[near], directions[near])
        first = hit < distances[near]
        rays = near[first]
        distances[rays], surfaces[rays], normals[rays] = hit[first], number, normal[first]
    points = origin + directions * np.where(np.isfinite(distances), distances, 0)[:, None]
    return Hits(directions, distances, surfaces, normals, points)


def near_misses(
    solids: list[Solid], origins: Array, directions: Array
) -> Iterator[tuple[int, Solid, NDArray[np.intp]]]:
    """Each solid, and the rays that meet its bounding sphere."""
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


def _surroundings(
    scene: Scene, origins: Array, directions: Array
) -> tuple[Array, NDArray[np.intp], Array]:
    normals = np.zeros_like(directions)
    if scene.room is None:
        down = directions[:, 1] < -1e-4
        t = np.where(down, -origins[:, 1] / np.where(down, directions[:, 1], -1), FAR)
        normals[:, 1] = 1
        return t.astype(np.float32), np.full(len(t), GROUND), normals
    low, high = np.array(scene.room, np.float32).T
    middle = (low + high) / 2
    _, t, side, _ = slabs(origins - middle, directions, (high - low) / 2)
    axis = side // 2
    normals[np.arange(len(t)), axis] = -np.sign(directions[np.arange(len(t)), axis])
    return t.astype(np.float32), ~side, normals
