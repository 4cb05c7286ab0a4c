"""What a camera makes of light: exposure, a lens, a sensor."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .shapes import Array


def photograph(linear: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Take a picture.

    Args:
        linear: H x W x 3, linear RGB, any scale.

    Returns:
        H x W x 3, sRGB.
    """
    height, width = linear.shape[:2]
    balance = rng.normal(1, 0.05, 3).astype(np.float32)
    exposure = rng.uniform(0.35, 0.75) / max(float(np.quantile(linear, 0.85)), 0.05)
    light = linear * balance * np.float32(exposure)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light *= (1 - rng.uniform(0, 0.25) * (x**2 + y**2) / 2).astype(np.float32)[..., None]
    noise = rng.uniform(0.002, 0.025)
    light += (
        rng.standard_normal(light.shape, np.float32)
        * np.float32(noise)
        * np.sqrt(np.clip(light, 0.02, 1))
    )
    encoded = np.clip(light, 0, 1) ** np.float32(1 / rng.uniform(1.9, 2.5))
    image = Image.fromarray((encoded * 255).astype(np.uint8))
    blur = rng.uniform(0.2, 1.1) * max(width, height) / 400
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)))
