"""Draws `sample/images`: four small scenes, one of each kind of file that the worker reads.

python sample/draw_images.py [FOLDER]
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SAMPLE = Path(__file__).resolve().parent
Color = tuple[int, int, int]


def vertical_gradient(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    width, height = size
    t = np.linspace(0, 1, height)[:, None, None]
    rows = (1 - t) * np.array(top) + t * np.array(bottom)
    return Image.fromarray(np.repeat(rows, width, axis=1).astype(np.uint8))


def shaded_ball(image: Image.Image, center: tuple[int, int], radius: int, color: Color) -> None:
    """A ball lit from the upper left."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1] / radius
    inside = x**2 + y**2 <= 1
    z = np.sqrt(np.clip(1 - x**2 - y**2, 0, 1))
    light = np.clip(-0.5 * x - 0.6 * y + 0.6 * z, 0, 1) * 0.8 + 0.2
    ball = Image.fromarray((light[..., None] * np.array(color)).astype(np.uint8))
    mask = Image.fromarray((inside * 255).astype(np.uint8))
    image.paste(ball, (center[0] - radius, center[1] - radius), mask)


def balls() -> Image.Image:
    """Three balls on a plane, the nearest the largest."""
    image = vertical_gradient((640, 480), (176, 200, 224), (236, 236, 230))
    ImageDraw.Draw(image).rectangle((0, 240, 640, 480), fill=(150, 140, 120))
    shaded_ball(image, (470, 250), 40, (90, 160, 90))
    shaded_ball(image, (330, 290), 75, (90, 110, 190))
    shaded_ball(image, (150, 340), 120, (200, 90, 70))
    return image


def corridor() -> Image.Image:
    """A corridor in one-point perspective, tiled, darker towards its end."""
    width, height = 640, 427
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    for i in range(24, 0, -1):
        shade, half = 1 - i / 30, (width / 2) / (1 + i * 0.45)
        nearer = (width / 2) / (1 + (i - 1) * 0.45)
        corners = {
            scale: [(width / 2 + sx * scale, height / 2 + sy * scale * 0.66) for sx, sy in SQUARE]
            for scale in (half, nearer)
        }
        for side in range(4):
            a, b = corners[half][side], corners[half][(side + 1) % 4]
            c, d = corners[nearer][(side + 1) % 4], corners[nearer][side]
            tone = (230, 220, 200) if (i + side) % 2 else (150, 130, 110)
            draw.polygon([a, b, c, d], fill=tuple(int(t * shade) for t in tone))
    return image


SQUARE = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def mountains() -> Image.Image:
    """Ridges behind ridges, each further one paler."""
    image = vertical_gradient((480, 640), (120, 160, 210), (235, 225, 215))
    draw = ImageDraw.Draw(image)
    rng = np.random.default_rng(7)
    for ridge in range(5):
        base, steps = 280 + 80 * ridge, np.linspace(0, 480, 49)
        wander = np.cumsum(rng.normal(0, 10 + 2 * ridge, 49))
        points = [(float(x), float(base + w)) for x, w in zip(steps, wander, strict=True)]
        color = tuple(int(200 - 38 * ridge + tint) for tint in (0, 8, 22))
        draw.polygon([(0, 640), *points, (480, 640)], fill=color)
    return image.filter(ImageFilter.GaussianBlur(0.6))


def shapes() -> Image.Image:
    """Overlapping shapes with transparency around them: alpha is dropped, not blended."""
    image = Image.new("RGBA", (512, 384), (60, 60, 70, 0))
    draw = ImageDraw.Draw(image)
    draw.rectangle((40, 60, 280, 330), fill=(70, 130, 180, 255))
    draw.ellipse((180, 110, 420, 350), fill=(220, 160, 60, 255))
    draw.polygon([(300, 340), (400, 150), (490, 340)], fill=(120, 60, 120, 200))
    return image


SCENES: dict[str, tuple[Callable[[], Image.Image], dict[str, int]]] = {
    "balls.png": (balls, {}),
    "corridor.jpg": (corridor, {"quality": 90}),
    "mountains.webp": (mountains, {"quality": 85}),
    "shapes.png": (shapes, {}),
}


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (draw, options) in SCENES.items():
        draw().save(folder / name, **options)
        print(folder / name)


if __name__ == "__main__":
    main()
