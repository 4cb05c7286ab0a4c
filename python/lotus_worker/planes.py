"""From a float map to the planes that Node asked for, computed where the map is.

A map here is H x W, or H x W x 3 of normals.
"""

from pathlib import Path

import torch

from lotus_worker.ensemble import Ensemble
from lotus_worker.protocol import Normalize, Picture, Run

#: The share of values that `percentile` leaves out at either end, as depth-map viewers do
#: (Marigold's and MiDaS' use 2% and 98%).
PERCENTILE = 0.02

#: Entries of a colormap, as matplotlib's have.
COLORS = 256

#: Rows that are in float64 at a time.
STRIP = 64


def value_range(depth: torch.Tensor, picture: Picture) -> tuple[float, float]:
    """The values that become pixel 0 and the full pixel.

    Args:
        depth: float32.
        picture: how; `invert` swaps the two.
    """
    low, high = _bounds(depth, picture.normalize)
    return (high, low) if picture.invert else (low, high)


def normalise(depth: torch.Tensor, between: tuple[float, float]) -> torch.Tensor:
    """The map as the pictures show it.

    Args:
        depth: of any shape.
        between: the values of pixel 0 and of the full pixel, of which either may be the larger.
            When they are equal the map is flat and every value is 0.

    Returns:
        In [0, 1], of the same shape and type, on the same device.
    """
    if between[0] == between[1]:
        return torch.zeros_like(depth)
    # As tensors, because CUDA divides by a Python number through its reciprocal: other last bits.
    zero, full = (depth.new_tensor(value) for value in between)
    return ((depth - zero) / (full - zero)).clamp(0, 1)


def quantize(depth: torch.Tensor, between: tuple[float, float]) -> torch.Tensor:
    """8-bit pixels: the floor of 255 x the normalised value.

    Args:
        depth: float32.
        between: as of `normalise`.

    Returns:
        Of the same shape, uint8, on the same device.
    """
    return (normalise(depth, between) * 255).to(torch.uint8)


def quantize_16(depth: torch.Tensor, between: tuple[float, float]) -> torch.Tensor:
    """16-bit pixels: 65535 x the normalised value, rounded, so that they decode to half a step.

    In float64: float32 has 24 bits, and takes its share of that half step with each operation.

    Args:
        depth: float32.
        between: as of `normalise`.

    Returns:
        Of the same shape, uint16, on the same device.
    """
    strips = (normalise(strip.double(), between) * 65535 for strip in depth.split(STRIP))
    return torch.cat([strip.round().to(torch.uint16) for strip in strips])


def color_entries(
    depth: torch.Tensor, between: tuple[float, float], *, reverse: bool
) -> torch.Tensor:
    """Entries of a colormap: the floor of 256 x the normalised value, of which 1 is the last's.

    So matplotlib chooses them, and by it upstream's `colorize_depth_map`.

    Args:
        depth: H x W, float32.
        between: as of `normalise`, the smaller one first.
        reverse: give the smaller one the last entry.

    Returns:
        H x W, uint8, on the same device.
    """
    place = normalise(depth, between)
    place = (1 - place if reverse else place) * COLORS
    return place.clamp(max=COLORS - 1).to(torch.uint8)


def make_planes(
    shown: Ensemble, between: tuple[float, float], request: Run
) -> dict[str, torch.Tensor]:
    """The planes that are asked for, by the file that they go to.

    Args:
        shown: the map and its uncertainty, each H x W or H x W x 3.
        between: the values of pixel 0 and of the full pixel.
    """
    planes, reverse = request.planes, request.picture.reverse_color
    depth = shown.depth
    rising = (min(between), max(between))
    makers = (
        (planes.float32, lambda: depth),
        (planes.uint8, lambda: quantize(depth, between)),
        (planes.uint16, lambda: quantize_16(depth, between)),
        (planes.color, lambda: color_entries(depth, rising, reverse=reverse)),
    )
    made = {path: make() for path, make in makers if path is not None}
    if planes.uncertainty is not None and shown.uncertainty is not None:
        made[planes.uncertainty] = shown.uncertainty
    return made


def write_planes(planes: dict[str, torch.Tensor]) -> None:
    """Write planes to files, row by row, values little-endian.

    The files are written, not mapped: a full memory file system then answers with ENOSPC, where a
    mapped page would be answered with SIGBUS.

    Raises:
        OSError: a file cannot be written.
    """
    for path, plane in planes.items():
        Path(path).write_bytes(plane.cpu().contiguous().numpy().data)


def write_exr(depth: torch.Tensor, path: str) -> None:
    """Write a map as OpenEXR: 32-bit floats, compressed without loss.

    Its channel is Y, luminance, which every reader shows; Z would promise a distance, and a map is
    none. Those of normals are R, G and B.

    Args:
        depth: H x W, or H x W x 3, float32.

    Raises:
        OSError: the file cannot be written.
    """
    import OpenEXR  # here, because few runs need it and every start would wait for it

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    try:
        channels = {"Y" if depth.ndim == 2 else "RGB": depth.cpu().contiguous().numpy()}
        OpenEXR.File(header, channels).write(path)
        # Read again: what is not written until the file is closed is lost without a word.
        OpenEXR.File(path)
    except RuntimeError as error:
        raise OSError(str(error)) from error


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
