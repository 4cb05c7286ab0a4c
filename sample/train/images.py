"""Draws `sample/images`: `python -m train.images [FOLDER]` in the folder `sample`.

Scenes that were never trained on, at 640x480, in each format that the worker reads. What else is
there are photographs; `README.md` says whose.
"""

import sys
from pathlib import Path
from typing import Any

from PIL import Image

from .render import render
from .scenes import SHOWN

SIZE = (640, 480)
SAMPLES = 2  # along each edge of a pixel, for smooth edges

#: By file name: the index of the scene, and how the file is written.
IMAGES: dict[str, tuple[int, dict[str, Any]]] = {
    "alley.jpg": (4, {"quality": 90}),
    "field.jpg": (30, {"quality": 90}),
    "park.webp": (14, {"quality": 85}),
    "playroom.png": (33, {}),
    "room.jpg": (29, {"quality": 90}),
    "street.jpg": (38, {"quality": 90}),
}


def main() -> None:
    default = Path(__file__).resolve().parent.parent / "images"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    folder.mkdir(parents=True, exist_ok=True)
    for name, (index, options) in IMAGES.items():
        view = render(SHOWN, index, *SIZE, samples=SAMPLES)
        Image.fromarray(view.rgb).save(folder / name, **options)
        print(folder / name)


if __name__ == "__main__":
    main()
