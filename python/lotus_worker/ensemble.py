"""Several maps of one image, by as many seeds: what they agree on, and where they do not."""

from dataclasses import dataclass

import torch

#: Rows that are sorted at a time, which takes five times the memory of the maps' own.
STRIP = 64


@dataclass(frozen=True)
class Ensemble:
    """What is made of some maps; of one, itself."""

    depth: torch.Tensor  # C x H x W: of each value the median over the maps
    #: Of each value the median distance of the maps from that median, in the map's own unit; None
    #: of a single map.
    uncertainty: torch.Tensor | None


def combine(maps: list[torch.Tensor]) -> Ensemble:
    """The median, and the median absolute deviation from it, as Marigold's ensembles have them.

    Without Marigold's alignment: Lotus gives all maps of an image in [0, 1], by one scale.

    Args:
        maps: one or more, each C x H x W.
    """
    if len(maps) == 1:
        return Ensemble(maps[0], None)
    strips = zip(*(one.split(STRIP, dim=1) for one in maps), strict=True)
    medians, distances = zip(*map(_combine, strips), strict=True)
    return Ensemble(torch.cat(medians, dim=1), torch.cat(distances, dim=1))


def _combine(strips: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same rows of all maps."""
    together = torch.stack(strips)
    depth = _median(together)
    return depth, _median((together - depth).abs())


def _median(values: torch.Tensor) -> torch.Tensor:
    """Over the first dimension, of an even number between the middle two.

    torch.median gives the lower of these, and torch.quantile refuses more than 2^24 values.
    """
    ranked = values.sort(dim=0).values
    last = len(values) - 1
    return (ranked[last // 2] + ranked[last - last // 2]) / 2
