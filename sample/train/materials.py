"""Colours and materials, drawn at random."""

from typing import Any

import numpy as np
from numpy.random import Generator

from .shapes import Color, Material, vector

PATTERNS = ("flat", "flat", "checker", "stripes", "planks", "bricks", "mottled", "mottled")


def color(rng: Generator, dark: float = 0.05, pale: float = 0.9) -> Color:
    saturation = rng.beta(1.2, 2.5)
    value, hue = rng.uniform(dark, pale), rng.random(3)
    mixed = value * ((1 - saturation) + saturation * hue / max(hue.max(), 1e-3))
    return vector(*np.clip(mixed, 0.01, 0.95))


def material(rng: Generator, patterns: tuple[str, ...] = PATTERNS, scale: float = 1.0) -> Material:
    return Material(
        color=color(rng),
        other=color(rng),
        pattern=str(rng.choice(patterns)),
        period=float(scale * np.exp(rng.uniform(np.log(0.15), np.log(1.5)))),
        mottle=float(rng.choice([0.0, rng.uniform(0.1, 0.5)])),
        shine=float(rng.choice([0.0, 0.0, rng.uniform(0.1, 0.6)])),
    )


def tinted(rng: Generator, base: Color, spread: float = 0.08, **more: Any) -> Material:
    def near() -> Color:
        return vector(*(np.clip(c + rng.normal(0, spread), 0.01, 0.95) for c in base))

    return Material(color=near(), other=near(), **more)
