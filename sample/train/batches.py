"""Batches of drawn scenes, without end."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .render import render
from .scenes import TRAINING

#: Width to height.
ASPECTS = (4 / 3, 4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4, 9 / 16)
#: Edges are multiples of it, as the worker's processing makes them of 8.
MULTIPLE = 16

#: RGB, B x 3 x H x W, uint8; disparity, B x 1 x H x W in [0, 1]; normals, B x 3 x H x W in [-1, 1].
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Scenes(IterableDataset[Batch]):
    """Batches of pictures and disparities.

    Args:
        size: pictures in a batch at the smallest area; fewer when they are larger.
        areas: pixels a picture; one is drawn for each batch.
        first: the number of the first batch: batch n is the same whoever draws it.
    """

    def __init__(self, size: int, areas: list[int], first: int) -> None:
        self.size, self.areas, self.first = size, areas, first

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        offset, stride = (info.id, info.num_workers) if info else (0, 1)
        number = self.first + offset
        while True:
            yield self.draw(number)
            number += stride

    def draw(self, number: int) -> Batch:
        """The batch of a number."""
        rng = np.random.default_rng([TRAINING, number, 0])
        area, aspect = int(rng.choice(self.areas)), float(rng.choice(ASPECTS))
        height = _multiple((area / aspect) ** 0.5)
        width = _multiple(height * aspect)
        count = max(1, round(self.size * min(self.areas) / area))
        views = [render(TRAINING, number * self.size + i, width, height) for i in range(count)]
        rgb = np.stack([view.rgb for view in views]).transpose(0, 3, 1, 2)
        disparity = np.stack([view.disparity for view in views])[:, None]
        normals = np.stack([view.normals for view in views]).transpose(0, 3, 1, 2)
        planes = (rgb, disparity, normals)
        if rng.random() < 0.5:
            normals = normals * np.array([-1, 1, 1], np.float32)[:, None, None]
            planes = tuple(plane[..., ::-1] for plane in (rgb, disparity, normals))
        rgb, disparity, normals = (torch.from_numpy(np.ascontiguousarray(p)) for p in planes)
        return rgb, disparity, normals


def load(scenes: Scenes, workers: int) -> Iterator[Batch]:
    """Draw batches in so many processes, in order; in this one where that is 0."""
    if workers == 0:
        return iter(scenes)
    loader = DataLoader(
        scenes, batch_size=None, num_workers=workers, prefetch_factor=8, worker_init_fn=_yield_cores
    )
    return iter(loader)


def _yield_cores(_worker: int) -> None:
    # The threads that train wait for each other at every step: what takes a core from one of them
    # takes it from all.
    os.nice(19)


def _multiple(edge: float) -> int:
    return max(MULTIPLE, round(edge / MULTIPLE) * MULTIPLE)
