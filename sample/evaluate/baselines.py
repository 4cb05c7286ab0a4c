"""What needs no model: a map that is better than these has understood something."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

#: Of the blur, as a share of the longer edge.
BLUR = 1 / 40


def gradient(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is lower is nearer. H x W in [0, 1]."""
    height, width = rgb.shape[:2]
    return np.repeat(np.linspace(0, 1, height, dtype=np.float32)[:, None], width, axis=1)


def darkness(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What is darker is nearer, blurred. H x W in [0, 1]."""
    grey = Image.fromarray(rgb).convert("L")
    blurred = grey.filter(ImageFilter.GaussianBlur(max(rgb.shape) * BLUR))
    return 1 - np.asarray(blurred, dtype=np.float32) / np.float32(255)
