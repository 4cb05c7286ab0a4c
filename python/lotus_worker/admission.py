"""Which shapes are run: none too thin for the model, and none that takes more memory than there is.

The memory is reckoned before the run, from the networks' configurations, since running out of it
costs more than one job: on a CPU the system kills the process, and on a card shared with others
theirs may be the run that fails.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.backends.cuda import (
    SDPAParams,
    can_use_efficient_attention,
    can_use_flash_attention,
)

from lotus_worker.errors import WorkerError
from lotus_worker.protocol import Image, Options

logger = logging.getLogger(__name__)

#: LotusDPipeline.default_processing_resolution, which is what `processing_res` None means.
DEFAULT_PROCESSING_RES = 768

#: The largest `processing_res` that callers may name.
MAX_PROCESSING_RES = 4096

#: What is asked for beyond the estimate, for what it does not know of.
MARGIN = 1.1

#: What a run takes whatever its size, bytes: workspaces, threads' buffers.
BASE_BYTES = 64 * 2**20

#: Full-size tensors of the decoder's widest block that are alive at once.
#:
#: On the CPU measured as resident memory, with random weights of the released shape in float32 at
#: 512, 768 and 1024 pixels: 1067, 1001 and 1005 numbers a pixel, which is 4 of 256 channels.
#: For CUDA reckoned, and not measured on a card: 3, by a trace of torch's allocations at 768 to
#: 2048 pixels (768 numbers a pixel), and 2 more for what cuDNN copies into its own layout.
DECODER_TENSORS = {"cpu": 4, "cuda": 5}

#: The same of the encoder's first block; traced, and on the CPU measured: 643 numbers a pixel,
#: which is 5 of 128 channels and the image.
ENCODER_TENSORS = {"cpu": 5, "cuda": 7}

#: Numbers that the UNet has alive for each of a latent pixel's first channels, by the trace 26
#: and on the CPU, measured, up to 52. It never came near the decoder.
UNET_TENSORS = 52

#: Numbers a pixel that do not depend on the width: the image and the map, which oneDNN blocks to
#: 16 channels each. Measured on the sample model (95 to 145 numbers a pixel where 64 are its
#: decoder's), on the CPU.
IMAGE_NUMBERS = 80

#: Bytes a number. Float16 on the CPU takes more than float32, since its kernels work on copies in
#: float32; measured on the sample model.
NUMBER_BYTES = {
    ("cpu", torch.float16): 6,
    ("cpu", torch.float32): 4,
    ("cuda", torch.float16): 2,
    ("cuda", torch.float32): 4,
}

#: Bytes a pixel of the input, whatever the processing size: the image as uint8, and while it is
#: made floats, two of it in float32. The sorting of a scaled-back map takes as much.
INPUT_BYTES = 3 + 2 * 3 * 4

#: Bytes a pixel and channel of a scaled-back map with all that can be asked of it: the map and its
#: uncertainty in float32, uint8, uint16 and color, and while one of these is made, two in float32.
OUTPUT_BYTES = 4 + 4 + 1 + 2 + 1 + 2 * 4

#: Copies of the attention's scores where a kernel keeps them: before and behind the softmax.
SCORE_COPIES = 2


@dataclass(frozen=True)
class Footprint:
    """What a run takes, by the model and where it runs."""

    numbers_per_pixel: float  # of the processing size
    number_bytes: int
    #: Heads whose scores are kept whole, latents squared; 0 where no kernel does that.
    whole_scores: int
    latent_edge: int  # pixels along the edge of a latent

    def bytes_for(
        self, image_pixels: int, width: int, height: int, *, channels: int = 1, maps: int = 1
    ) -> int:
        """Bytes that a run takes beside the weights.

        Args:
            image_pixels: of the image as it came.
            width: of the processing size, pixels.
            height: likewise.
            channels: of a map.
            maps: in an ensemble; all but the last wait, in float32, while that is computed.
        """
        latents = width * height // self.latent_edge**2
        numbers = width * height * self.numbers_per_pixel
        numbers += SCORE_COPIES * self.whole_scores * latents**2
        per_image_pixel = max(INPUT_BYTES, 3 + channels * OUTPUT_BYTES)
        bytes_ = numbers * self.number_bytes + image_pixels * per_image_pixel + BASE_BYTES
        bytes_ += (maps - 1) * channels * 4 * width * height
        return int(bytes_ * MARGIN)


class Admission:
    """Decides which shapes a loaded model runs.

    Args:
        pipeline: upstream's.
        device: where it runs.
        available: how many bytes there are now; None where nobody can tell.
        channels: of its maps.
    """

    def __init__(
        self,
        pipeline: Any,
        device: torch.device,
        available: Callable[[], int | None],
        channels: int = 1,
    ) -> None:
        self._channels = channels
        self._pipeline = pipeline
        self._device = device
        self._available = available
        self._smallest: int = pipeline.vae_scale_factor
        self._footprints: dict[torch.dtype, Footprint | None] = {}

    def admit(self, image: Image, options: Options, dtype: torch.dtype) -> None:
        """Refuse what the model or the memory does not take.

        Raises:
            WorkerError: `shape_not_admitted`.
        """
        _admit_edges(image, options, self._smallest)
        if lack := self.lack(image, options, dtype):
            raise WorkerError("shape_not_admitted", lack)

    def lack(self, image: Image, options: Options, dtype: torch.dtype, more: int = 0) -> str | None:
        """What a run lacks of memory: how much it takes, how much there is, and what would fit.

        Args:
            image: the image.
            options: of the run.
            dtype: what the networks compute in.
            more: bytes that are needed beside the run itself.

        Returns:
            None where there is enough, or nobody can tell.
        """
        footprint = self._footprint(dtype)
        available = self._available()
        if footprint is None or available is None:
            return None

        def needed(processing_res: int | None) -> int:
            size = processing_size(image.width, image.height, processing_res)
            return more + footprint.bytes_for(
                image.width * image.height,
                *size,
                channels=self._channels,
                maps=options.ensemble_size,
            )

        if needed(options.processing_res) <= available:
            return None
        width, height = processing_size(image.width, image.height, options.processing_res)
        largest = self._largest_admitted(image, lambda res: needed(res) <= available)
        what = "GPU memory" if self._device.type == "cuda" else "memory"
        return (
            f"{image.width}x{image.height} processed at {width}x{height} takes about"
            f" {_gigabytes(needed(options.processing_res))} of {what}, and"
            f" {_gigabytes(available)} are free: "
            + (
                f"use a processing_res of at most {largest}"
                if largest is not None
                else "no processing_res fits this image; use a smaller one"
            )
        )

    def _largest_admitted(self, image: Image, fits: Callable[[int], bool]) -> int | None:
        """The largest processing_res, a multiple of the latent's edge, that fits."""
        step = self._smallest
        low, high = 0, MAX_PROCESSING_RES // step  # low fits, or is none; above high is not asked
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle * step) else (low, middle - 1)
        largest = low * step
        is_thick = min(processing_size(image.width, image.height, largest or 1)) >= step
        return largest if is_thick else None

    def _footprint(self, dtype: torch.dtype) -> Footprint | None:
        if dtype not in self._footprints:
            self._footprints[dtype] = footprint(self._pipeline, self._device, dtype)
            if self._footprints[dtype] is None:
                logger.warning(
                    "what a run takes of memory is not known for this model on %s in %s: every size"
                    " is tried",
                    self._device.type,
                    dtype,
                )
        return self._footprints[dtype]


def footprint(pipeline: Any, device: torch.device, dtype: torch.dtype) -> Footprint | None:
    """Reckon a model's footprint; None for an architecture or a device that is not known."""
    try:
        widths = [int(width) for width in pipeline.vae.config.block_out_channels]
        unet_width = int(pipeline.unet.config.block_out_channels[0])
        number_bytes = NUMBER_BYTES[device.type, dtype]
        middle = widths[-1]
    except (AttributeError, KeyError, TypeError, IndexError, ValueError):
        return None
    # Of the decoder's blocks each takes the width of the one before, at half the edge.
    widest = max(width / 4**level for level, width in enumerate([*widths[1:], middle]))
    latent_edge = 2 ** (len(widths) - 1)
    numbers = max(
        DECODER_TENSORS[device.type] * widest,
        ENCODER_TENSORS[device.type] * widths[0],
        UNET_TENSORS * unet_width / latent_edge**2,
    )
    scores = 0 if keeps_no_scores(device, dtype, middle) else 1
    return Footprint(numbers + IMAGE_NUMBERS, number_bytes, scores, latent_edge)


def keeps_no_scores(device: torch.device, dtype: torch.dtype, head_size: int) -> bool:
    """Whether the attention in the VAE's middle, one head of all channels, goes without a score
    for each pair of latents.

    On the CPU torch's kernel takes any head size (measured: 12288 latents of 512 channels took
    28 MB, where their scores are 604 MB). On CUDA flash attention ends at heads of 256, and torch
    takes its memory-efficient kernel, which has no such end; whether it runs here torch is asked.
    """
    if device.type != "cuda":
        return True
    return fused_kernel_takes(torch.empty(1, 1, 64, head_size, device=device, dtype=dtype))


def fused_kernel_takes(query: torch.Tensor) -> bool:
    """Whether one of torch's CUDA kernels that keep no scores takes such heads."""
    params = SDPAParams(query, query, query, None, 0.0, False, False)
    return can_use_flash_attention(params) or can_use_efficient_attention(params)


def processing_size(width: int, height: int, processing_res: int | None) -> tuple[int, int]:
    """The size upstream scales an image to, (width, height): its ``resize_max_res``."""
    long_edge = DEFAULT_PROCESSING_RES if processing_res is None else processing_res
    if long_edge == 0:
        return width, height
    factor = min(long_edge / width, long_edge / height)
    return int(width * factor), int(height * factor)


def _admit_edges(image: Image, options: Options, smallest: int) -> None:
    """Refuse what would fail inside a convolution: less than one latent along an edge."""
    width, height = processing_size(image.width, image.height, options.processing_res)
    if min(width, height) < smallest:
        raise WorkerError(
            "shape_not_admitted",
            f"{image.width}x{image.height} becomes {width}x{height} for processing; the model needs"
            f" at least {smallest} pixels along each edge: use a larger processing_res, or a less"
            " elongated image",
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
