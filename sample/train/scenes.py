"""What is in a scene: drawn from a seed, and nothing else.

Half of the scenes are rooms, half are outdoors: streets, parks and fields. A seed is a pair of
numbers, a stream and an index, so that what is trained on and what is held out never meet.
"""

from dataclasses import dataclass, field

import numpy as np

from .materials import color, material, tinted
from .shapes import Color, Material, Solid, vector
from .things import (
    Room,
    ball,
    bush,
    car,
    chair,
    cone,
    crate,
    houses,
    person,
    picture,
    post,
    shelf,
    table,
    tree,
)

#: Streams of seeds. The held-out ones were fixed before the first training run.
TRAINING, HELD_OUT, SHOWN = 1, 2, 3
#: What is evaluated on: (HELD_OUT, 0) to (HELD_OUT, 499), at 320x240.
HELD_OUT_COUNT, HELD_OUT_SIZE = 500, (320, 240)


FURNITURE = (crate, crate, ball, post, cone, table, table, chair, shelf, person, person)
OUTSIDE = (crate, ball, post, cone, person, person, tree, tree, tree, bush, car)


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
    #: The six sides of a room: left, right, floor, ceiling, behind, ahead.
    room: Room | None = None
    walls: list[Material] = field(default_factory=list)
    #: Towards the sun, or where the lamp hangs.
    light: tuple[float, float, float] = (0.3, 0.8, -0.4)
    light_color: Color = (1.0, 1.0, 1.0)
    ambient: float = 0.4
    #: Extinction per metre, and the colour of the air and of the sky above.
    fog: float = 0.0
    horizon: Color = (0.8, 0.85, 0.9)
    zenith: Color = (0.3, 0.5, 0.8)
    clouds: float = 0.0
    #: Hills at the horizon: their height in radians, 0: none.
    hills: float = 0.0


def draw_scene(stream: int, index: int) -> tuple[Scene, np.random.Generator]:
    """The scene of a seed, and the generator that its picture goes on with."""
    rng = np.random.default_rng([stream, index])
    return (_room(rng) if rng.random() < 0.5 else _outdoors(rng)), rng


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
    wall = material(rng, ("flat", "flat", "stripes", "bricks", "mottled"))
    walls = [wall if rng.random() < 0.6 else material(rng) for _ in range(6)]
    walls[2] = material(rng, ("flat", "checker", "planks", "planks", "mottled"))
    walls[3] = tinted(rng, (0.8, 0.8, 0.78))
    solids: list[Solid] = []
    for _ in range(rng.integers(2, 9)):
        make = FURNITURE[rng.integers(len(FURNITURE))]
        x = rng.uniform(room[0][0] + 0.4, room[0][1] - 0.4)
        z = rng.uniform(1.2, max(depth - 0.3, 1.5))
        solids += make(rng, float(x), float(z))
    for _ in range(rng.integers(0, 4)):
        solids.append(picture(rng, room))
    lamp = (rng.uniform(*room[0]) * 0.7, height - 0.15, rng.uniform(0.5, depth * 0.8))
    warm = rng.uniform(0, 0.3)
    return Scene(
        camera=camera,
        solids=solids,
        ground=walls[2],
        room=room,
        walls=walls,
        light=vector(*lamp),
        light_color=(1.0, 1.0 - warm * 0.5, 1.0 - warm),
        ambient=float(rng.uniform(0.25, 0.6)),
        fog=0.0 if rng.random() < 0.8 else float(rng.uniform(0.005, 0.04)),
        horizon=color(rng, 0.5),
    )


def _outdoors(rng: np.random.Generator) -> Scene:
    camera = Camera(
        height=float(np.exp(rng.normal(np.log(1.6), 0.35))),
        pitch=float(rng.normal(-0.08, 0.1)),
        roll=float(rng.normal(0, 0.02)),
        fov=float(rng.uniform(0.7, 1.4)),
    )
    grass, stone = (0.2, 0.32, 0.1), (0.4, 0.38, 0.36)
    ground = tinted(
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
        solids += houses(rng)
    for _ in range(rng.integers(3, 14 if kind != "field" else 7)):
        make = OUTSIDE[rng.integers(len(OUTSIDE))]
        nearest = 5.0 if make in (tree, car) else 2.2
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
        light=vector(*sun),
        light_color=(1.0, float(rng.uniform(0.8, 1)), float(rng.uniform(0.65, 1))),
        ambient=float(rng.uniform(0.3, 0.7)),
        fog=0.0 if rng.random() < 0.4 else float(np.exp(rng.uniform(np.log(0.003), np.log(0.06)))),
        horizon=vector(*grey * rng.uniform(0.9, 1.05, 3)),
        zenith=(float(rng.uniform(0.1, 0.6)), float(rng.uniform(0.3, 0.65)), float(grey)),
        clouds=float(rng.choice([0.0, rng.uniform(0.2, 0.9)])),
        hills=float(rng.choice([0.0, rng.uniform(0.02, 0.15)])),
    )
