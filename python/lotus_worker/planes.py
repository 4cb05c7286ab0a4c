"""From a float map to the planes that Node asked for, computed where the map is."""

from pathlib import Path

import torch

from lotus_worker.protocol import Normalize, Picture, Planes

#: The share of values that `percentile` leaves out at either end, as depth-map viewers do
#: (Marigold's and MiDaS' use 2% and 98%).
PERCENTILE = 0.02


def value_range(depth: torch.Tensor, picture: Picture) -> tuple[float, float]:
    """The values that become pixel 0 and the full pixel.

    Args:
        depth: H x W, float32.
        picture: how; `invert` swaps the two.
    """
    low, high = _bounds(depth, picture.normalize)
    return (high, low) if picture.invert else (low, high)


def quantize(depth: torch.Tensor, between: tuple[float, float]) -> torch.Tensor:
    """8-bit pixels: the floor of 255 x the normalised value.

    Args:
        depth: H x W, float32.
        between: the values of pixel 0 and pixel 255, of which either may be the larger. When they
            are equal the map is flat and every pixel is 0.

    Returns:
        H x W, uint8, on the same device.
    """
    if between[0] == between[1]:
        return torch.zeros_like(depth, dtype=torch.uint8)
    # As tensors, because CUDA divides by a Python number through its reciprocal: other last bits.
    zero, full = (depth.new_tensor(value) for value in between)
    normalised = ((depth - zero) / (full - zero)).clamp(0, 1)
    return (normalised * 255).to(torch.uint8)


def write_planes(depth: torch.Tensor, pixels: torch.Tensor | None, planes: Planes) -> None:
    """Write the planes that have a file name, row by row, values little-endian.

    The files are written, not mapped: a full memory file system then answers with ENOSPC, where a
    mapped page would be answered with SIGBUS.

    Raises:
        OSError: a file cannot be written.
    """
    for plane, path in ((depth, planes.float32), (pixels, planes.uint8)):
        if path is not None and plane is not None:
            Path(path).write_bytes(plane.cpu().contiguous().numpy().data)


def _bounds(depth: torch.Tensor, normalize: Normalize) -> tuple[float, float]:
    if normalize == "none":
        return 0.0, 1.0
    if normalize == "minmax":
        return depth.min().item(), depth.max().item()
    # Nearest rank, sorted: torch.quantile refuses more than 2^24 values, and kthvalue takes the
    # square of their number when they are in order, as those of a slope are.
    ranked = depth.flatten().sort().values
    last = ranked.numel() - 1
    low, high = (round(share * last) for share in (PERCENTILE, 1 - PERCENTILE))
    return ranked[low].item(), ranked[high].item()
