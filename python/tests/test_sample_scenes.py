"""sample/train: drawn scenes, whose disparity is right."""

import numpy as np
import pytest

from train import scenes
from train.render import render, view_of
from train.scenes import Camera, Scene, draw_scene
from train.shapes import Box, Ellipsoid, Frustum, Material
from train.trace import trace

GREY = Material((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LEVEL = Camera(height=1.0, pitch=0.0, roll=0.0, fov=1.0)


def meet(solid, direction, origin=(0.0, 0.0, 0.0)):
    """How far along a ray a solid is, and the normal there."""
    ray = np.array([direction], np.float32)
    ray /= np.linalg.norm(ray)
    distance, normal = solid.meet(np.array([origin], np.float32), ray)
    return float(distance[0]), normal[0]


@pytest.mark.parametrize(
    ("solid", "distance", "normal"),
    [
        (Box((0, 0, 5), (2, 2, 2), GREY), 4, (0, 0, -1)),
        (Box((0, 0, 5), (2, 2, 2), GREY, yaw=np.pi / 4), 5 - 2**0.5, None),  # an edge
        (Ellipsoid((0, 0, 5), (1, 2, 0.5), GREY), 4.5, (0, 0, -1)),
        (Frustum((0, 0, 5), 2, 1, 1, GREY), 4, (0, 0, -1)),
        (Frustum((0, 0, 5), 2, 1, 0, GREY), 4.5, (0, 1 / 5**0.5, -2 / 5**0.5)),
    ],
)
def test_a_ray_meets_a_solid_where_it_is(solid, distance, normal):
    met, at = meet(solid, (0, 0, 1))
    assert met == pytest.approx(distance, abs=1e-4)
    if normal is not None:
        assert at == pytest.approx(normal, abs=1e-4)


@pytest.mark.parametrize(
    "solid",
    [Box((3, 0, 5), (2, 2, 2), GREY), Ellipsoid((0, 3, 5), (1, 2, 1), GREY),
     Frustum((0, 3, 5), 2, 1, 1, GREY), Ellipsoid((0, 0, -5), (1, 1, 1), GREY)],
)  # fmt: skip
def test_a_ray_misses_what_is_beside_or_behind(solid):
    assert meet(solid, (0, 0, 1))[0] == np.inf


def test_a_ray_meets_the_flat_end_of_a_post():
    distance, normal = meet(Frustum((0, 1, 0), 2, 1, 1, GREY), (0, -1, 0), origin=(0.5, 7, 0))
    assert (distance, tuple(normal)) == (pytest.approx(5), (0, 1, 0))


def test_disparity_is_one_over_the_depth_along_the_axis_and_the_sky_is_zero():
    # A wall that faces the camera is equally far everywhere, though its corners' rays are longer.
    wall = Box((0, 1, 10), (8, 6, 2), GREY)
    ball = Ellipsoid((0, 1, 3), (0.5, 0.5, 0.5), GREY)
    view = view_of(Scene(LEVEL, [wall, ball], GREY), np.random.default_rng(0), 65, 49)
    ball_depth, wall_depth = 2.5, 9.0
    middle, corner = view.disparity[24, 32], view.disparity[16, 12]
    assert corner / middle == pytest.approx(ball_depth / wall_depth, rel=2e-2)
    assert view.disparity[16, 12:20] == pytest.approx(corner)
    assert (view.disparity[:3] == 0).all()
    assert view.normals[24, 32] == pytest.approx((0, 0, 1), abs=0.05)
    assert (view.normals[:3] == 0).all()


def test_a_room_is_closed():
    room = ((-2.0, 2.0), (0.0, 3.0), (-1.0, 6.0))
    scene = Scene(LEVEL, [], GREY, room=room, walls=[GREY] * 6)
    rays = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    hits = trace(scene, np.array([0, 1, 0], np.float32), rays)
    assert hits.found.all()
    assert (np.einsum("ij,ij->i", hits.normals, rays) < 0).all()  # all sides are seen from within
    low, high = np.array(room).T
    assert (hits.points > low - 1e-3).all()
    assert (hits.points < high + 1e-3).all()


def test_a_seed_is_a_scene():
    first, again, other = (render(scenes.HELD_OUT, index, 48, 32) for index in (5, 5, 6))
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.disparity, again.disparity)
    assert (first.rgb != other.rgb).any()


def test_streams_of_seeds_share_no_scene():
    streams = (scenes.TRAINING, scenes.HELD_OUT, scenes.SHOWN)
    lights = {draw_scene(s, index)[0].light for s in streams for index in range(50)}
    assert len(lights) == 150


@pytest.mark.parametrize("index", range(6))
def test_views_are_whole(index):
    view = render(scenes.HELD_OUT, index, 64, 48)
    assert view.rgb.shape == (48, 64, 3)
    assert view.rgb.std() > 5
    assert view.disparity.min() >= 0
    assert view.disparity.max() == 1
    lengths = np.linalg.norm(view.normals, axis=2)
    np.testing.assert_allclose(lengths[view.disparity > 0], 1, atol=1e-3)
