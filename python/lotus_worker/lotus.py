"""One image in, one map out: what happens to a `run`.

The call is upstream's LotusDPipeline or LotusGPipeline, with four differences that leave its
numbers as they are: the prompt's embedding is given instead of computed; every run is seeded; the
mean over the three channels, which normals keep, is taken before scaling back, on the device (the
two commute); and scaling back is done here, so that `upsample_method` can choose how.

A map is C x H x W: one channel of disparity or depth, or the three of normals.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from lotus_worker.admission import Admission
from lotus_worker.ensemble import Ensemble, combine
from lotus_worker.errors import WorkerError
from lotus_worker.loading import Loaded, load
from lotus_worker.memory import available_memory, is_out_of_memory
from lotus_worker.planes import make_planes, value_range, write_exr, write_planes
from lotus_worker.protocol import (
    SEEDS,
    Image,
    Load,
    Options,
    Ready,
    ResampleMethod,
    Result,
    Run,
)
from lotus_worker.stages import RUN_STAGES, Stages

logger = logging.getLogger(__name__)

#: Scaling back. Upstream's `nearest` is torch's exact one.
INTERPOLATION: dict[ResampleMethod, InterpolationMode] = {
    "nearest": InterpolationMode.NEAREST_EXACT,
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
}

OnStage = Callable[[str, float], None]


class Lotus:
    """A loaded model. Not for several threads at once.

    Args:
        request: what to load.
        stages: the stages of loading, of which "imports" has begun.
    """

    def __init__(self, request: Load, stages: Stages) -> None:
        self._loaded = load(request, stages)
        device = self._loaded.device
        self._cuda = device.type == "cuda"
        pipeline = self._loaded.pipeline
        self._admission = Admission(
            pipeline,
            device,
            lambda: available_memory(device, weights_of(pipeline)),
            channels=3 if self._loaded.prediction == "normals" else 1,
        )
        self.ready = Ready(
            id=request.id,
            model=request.model,
            revision=self._loaded.revision,
            mode=self._loaded.mode,
            device=torch.cuda.get_device_name() if self._cuda else "cpu",
            dtype="float16" if self._loaded.dtype == torch.float16 else "float32",
            attention=self._loaded.attention,
            timings_ms=stages.finish(),
        )

    def run(self, request: Run, on_stage: OnStage) -> Result:
        """Compute one map and write its planes.

        Args:
            request: the run.
            on_stage: called as each stage begins; what it raises ends the run.

        Raises:
            WorkerError: `shape_not_admitted`, `bad_request`, `out_of_memory`, `non_finite_map`.
        """
        try:
            return self._run(request, Stages(RUN_STAGES, on_stage, self._synchronize))
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(error).partition("\n")[0] or type(error).__name__
        # Out of the except block, so that the traceback no longer holds the run's tensors.
        self._free_memory()
        size = f"{request.image.width}x{request.image.height}"
        raise WorkerError(
            "out_of_memory", f"out of memory at {size}: {message}; a smaller processing_res helps"
        )

    def _run(self, request: Run, stages: Stages) -> Result:
        options = request.options
        self._admission.admit(request.image, options, self._loaded.dtype)

        stages.begin("read")
        rgb = read_rgb(request.image).to(self._loaded.device)
        ensemble, computed_in = self._predict_ensemble(rgb, request, stages)
        channels, processing_height, processing_width = ensemble.depth.shape

        stages.begin("scale_back")
        shown = as_asked(ensemble, request)
        depth = shown.depth

        stages.begin("quantize")
        between = value_range(depth, request.picture)
        planes = make_planes(shown, between, request)
        low, high = depth.min().item(), depth.max().item()

        stages.begin("write")
        try:
            write_planes(planes)
            if request.planes.exr is not None:
                write_exr(depth, request.planes.exr)
        except OSError as error:
            raise WorkerError("internal", f"cannot write the map: {error}") from error
        return Result(
            id=request.id,
            width=depth.shape[1],
            height=depth.shape[0],
            channels=channels,
            processing_width=processing_width,
            processing_height=processing_height,
            min=low,
            max=high,
            range=between,
            dtype="float16" if computed_in == torch.float16 else "float32",
            timings_ms=stages.finish(),
            warnings=_warnings(low, high, between, self._loaded.dtype, computed_in),
        )

    def _predict_ensemble(
        self, rgb: torch.Tensor, request: Run, stages: Stages
    ) -> tuple[Ensemble, torch.dtype]:
        """Predict with each seed of the ensemble.

        Returns:
            What the maps make together, and the type that they were computed in; float32 where
            one of them had to be.

        Raises:
            WorkerError: `non_finite_map`.
        """
        maps: list[torch.Tensor] = []
        widest = self._loaded.dtype
        for more in range(request.options.ensemble_size):
            seed = (request.options.seed + more) % SEEDS
            options = replace(request.options, seed=seed)
            depth, computed_in = self._predict_finite(
                rgb, replace(request, options=options), stages
            )
            maps.append(depth)
            if computed_in != self._loaded.dtype:
                widest = computed_in
        return combine(maps), widest

    def _predict_finite(
        self, rgb: torch.Tensor, request: Run, stages: Stages
    ) -> tuple[torch.Tensor, torch.dtype]:
        """Predict, and once more in float32 where float16 overflowed.

        Returns:
            The map, C x H x W in float32, and the type it was computed in.

        Raises:
            WorkerError: `non_finite_map`.
        """
        options = request.options
        depth = predict(self._loaded, rgb, options, stages)
        if depth is None and self._loaded.dtype == torch.float16:
            self._admit_float32(request)
            logger.warning("the map is not finite in float16; running once more in float32")
            depth = self._predict_in_float32(rgb, options, stages)
            computed_in = torch.float32
        else:
            computed_in = self._loaded.dtype
        if depth is None:
            raise WorkerError(
                "non_finite_map",
                "the model gives NaN or infinity for this image, in float32 too: the weights may be"
                " damaged, or processing_res too far from what the model was trained at",
            )
        return depth, computed_in

    def _admit_float32(self, request: Run) -> None:
        # As much again: float32 is twice float16.
        weights = sum(weight.nbytes for weight in weights_of(self._loaded.pipeline))
        if lack := self._admission.lack(request.image, request.options, torch.float32, weights):
            raise WorkerError(
                "non_finite_map",
                f"the map is not finite in float16, and there is no memory for float32: {lack}",
            )

    def _predict_in_float32(
        self, rgb: torch.Tensor, options: Options, stages: Stages
    ) -> torch.Tensor | None:
        # Exact both ways: every float16 weight is a float32 number, and comes back as itself.
        pipeline = self._loaded.pipeline
        wide = replace(
            self._loaded, dtype=torch.float32, prompt_embeds=self._loaded.prompt_embeds.float()
        )
        kernels = pipeline.unet.attn_processors
        try:
            pipeline.to(torch.float32)
            pipeline.unet.set_attn_processor(AttnProcessor2_0())  # flash-attn takes no float32
            return predict(wide, rgb, options, stages)
        finally:
            pipeline.to(self._loaded.dtype)
            pipeline.unet.set_attn_processor(kernels)

    def _synchronize(self) -> None:
        if self._cuda:
            torch.cuda.synchronize()

    def _free_memory(self) -> None:
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()


def weights_of(pipeline: Any) -> Iterator[torch.Tensor]:
    """The weights that a run reads."""
    for network in (pipeline.unet, pipeline.vae):
        yield from network.parameters()


@torch.inference_mode()
def predict(
    loaded: Loaded, rgb: torch.Tensor, options: Options, stages: Stages
) -> torch.Tensor | None:
    """Run upstream's pipeline on one image.

    Args:
        rgb: 1 x 3 x H x W, uint8.

    Returns:
        The map at the size it was computed at, C x H' x W' in float32 and [0, 1]; None if what the
        decoder gave is not finite. (Upstream clamps to [0, 1], after which infinity looks fine.)
    """
    finite: list[bool] = []
    pipeline = loaded.pipeline
    networks = {
        "vae_encode": pipeline.vae.encoder,
        "unet": pipeline.unet,
        "vae_decode": pipeline.vae.decoder,
    }
    hook = pipeline.vae.decoder.register_forward_hook(
        lambda _module, _args, decoded: finite.append(bool(decoded.isfinite().all()))
    )
    try:
        with stages.watching(networks):
            stages.begin("resize")
            torch.manual_seed(options.seed)  # the latent is drawn from the global generator
            # Lotus-G's noise is drawn from this one, as infer.py does it.
            generator = torch.Generator(loaded.device).manual_seed(options.seed)
            (image,) = pipeline(
                rgb_in=(rgb.float() / 127.5 - 1.0).to(loaded.dtype),
                task_emb=task_embedding(loaded.device, loaded.dtype),
                prompt_embeds=loaded.prompt_embeds,
                generator=generator,
                timesteps=[options.timestep],
                output_type="pt",
                processing_res=options.processing_res,
                match_input_res=False,
                resample_method=options.resample_method,
            ).images
    finally:
        hook.remove()
    if finite != [True]:
        return None
    if loaded.prediction == "normals":
        return image.float()
    red, green, blue = image.float()
    # numpy's mean over the last axis adds in this order and divides: the same bits as upstream's.
    return ((red + green + blue) / image.new_tensor(3.0, dtype=torch.float32))[None]


def task_embedding(device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Upstream's switch for dense prediction, 1 x 4: ``[sin 1, sin 0, cos 1, cos 0]``."""
    task = torch.tensor([[1.0, 0.0]])
    return torch.cat([torch.sin(task), torch.cos(task)], dim=-1).to(device, dtype)


def read_rgb(image: Image) -> torch.Tensor:
    """Map a file of raw RGB.

    Returns:
        1 x 3 x H x W, uint8, in the file's memory.

    Raises:
        WorkerError: `bad_request`, the file is not there or not of that size.
    """
    try:
        values = np.memmap(image.path, dtype=np.uint8, mode="c")
    except (OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise WorkerError("bad_request", f"cannot map {image.path}: {error}") from error
    expected = image.height * image.width * 3
    if values.size != expected:
        raise WorkerError(
            "bad_request",
            f"{image.path} has {values.size} bytes; {image.width}x{image.height} RGB is {expected}",
        )
    rows = values.reshape(image.height, image.width, 3)
    return torch.from_numpy(rows).permute(2, 0, 1).unsqueeze(0)


def as_asked(ensemble: Ensemble, request: Run) -> Ensemble:
    """A map at the size that is asked for: from C x H' x W' to H x W, or H x W x 3 of normals."""

    def shaped(values: torch.Tensor) -> torch.Tensor:
        options = request.options
        if not options.output_processing_res:
            size = (request.image.height, request.image.width)
            values = scale(values, size, INTERPOLATION[options.upsample_method])
        return values[0] if len(values) == 1 else values.movedim(0, -1)

    if ensemble.uncertainty is None:
        return Ensemble(shaped(ensemble.depth), None)
    # Bicubic scaling overshoots, and no distance is negative.
    return Ensemble(shaped(ensemble.depth), shaped(ensemble.uncertainty).clamp(min=0))


def scale(depth: torch.Tensor, size: tuple[int, int], method: InterpolationMode) -> torch.Tensor:
    """Scale a map, C x H x W, to (height, width), with upstream's own call."""
    return resize(depth[None], list(size), method, antialias=True)[0]


def _warnings(
    low: float, high: float, between: tuple[float, float], wanted: Any, computed_in: Any
) -> list[str]:
    warnings: list[str] = []
    if low == high:
        warnings.append(f"the map is flat: every value is {low:.6g}")
    if between[0] == between[1]:
        hint = "" if low == high else ", since nearly all values are equal; try normalize=minmax"
        warnings.append(f"every pixel is 0{hint}")
    if computed_in != wanted:
        warnings.append("float16 was not finite for this image; it was computed again in float32")
    return warnings
