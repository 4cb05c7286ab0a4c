"""From a scene to a picture, its disparity and its normals, by casting one ray a pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .light import shade
from .photograph import photograph
from .scenes import Scene, draw_scene
from .shapes import Array
from .trace import trace

#: The share of pixels that count as no nearer than the nearest, against a single near corner.
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
        samples: see `view_of`.
    """
    return view_of(*draw_scene(stream, index), width, height, samples)


def view_of(
    scene: Scene, rng: np.random.Generator, width: int, height: int, samples: int = 1
) -> View:
    """Render a scene.

    Args:
        rng: of what is irregular in it, and of the camera's faults.
        width, height: pixels.
        samples: rays a pixel along each edge; the picture is their mean, the others the first's.
    """
    w, h = width * samples, height * samples
    directions, cosines, to_camera = _rays(scene, w, h)
    origin = np.array([0, scene.camera.height, 0], np.float32)
    hits = trace(scene, origin, directions)
    color = shade(scene, hits, rng.random((64, 64), dtype=np.float32))
    linear = color.reshape(height, samples, width, samples, 3).mean(axis=(1, 3))
    disparity = np.where(hits.found, 1 / (hits.distances * cosines), 0).astype(np.float32)
    disparity = disparity.reshape(h, w)[::samples, ::samples]
    seen = np.where(hits.found[:, None], hits.normals @ to_camera, 0)
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
