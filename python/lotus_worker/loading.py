"""From a `load` request to a pipeline that is ready: upstream's code, then the checkpoint."""

import importlib
import inspect
import logging
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging

from lotus_worker.attention import choose_attention
from lotus_worker.errors import WorkerError
from lotus_worker.memory import is_out_of_memory
from lotus_worker.parts import check_parts
from lotus_worker.protocol import Attention, Load, Mode, Prediction
from lotus_worker.stages import Stages

logger = logging.getLogger(__name__)

#: The parameters that this worker passes to both pipelines' `__call__`.
CALL_PARAMETERS = {
    "rgb_in",
    "generator",
    "task_emb",
    "prompt_embeds",
    "timesteps",
    "output_type",
    "processing_res",
    "match_input_res",
    "resample_method",
}


@dataclass(frozen=True)
class Upstream:
    """Upstream's pipelines, by its own words for them."""

    regression: type[Any]  # LotusDPipeline
    generation: type[Any]  # LotusGPipeline


@dataclass(frozen=True)
class Loaded:
    """A pipeline ready to run."""

    pipeline: Any  # upstream's LotusDPipeline or LotusGPipeline, without its text encoder
    mode: Mode  # which of the two
    prediction: Prediction
    prompt_embeds: torch.Tensor  # 1 x tokens x channels, of the empty prompt, in the model's type
    device: torch.device
    dtype: torch.dtype
    revision: str | None
    attention: Attention


def load(request: Load, stages: Stages) -> Loaded:
    """Load upstream's pipeline with a checkpoint.

    Raises:
        WorkerError: `incompatible_upstream`, `model_not_found`, `incompatible_model`, or
            `bad_request` for a device that is not there.
    """
    device = pick_device(request.device)
    dtype = pick_dtype(request.dtype, device)

    upstream = import_upstream(Path(request.upstream))

    stages.begin("weights")
    pipeline, mode = open_checkpoint(upstream, find_checkpoint(request.model), dtype)

    stages.begin("device")
    pipeline.to(device)

    stages.begin("prompt")
    prompt_embeds = encode_empty_prompt(pipeline)

    stages.begin("attention")
    attention = choose_attention(pipeline.unet, device)
    return Loaded(
        pipeline,
        mode,
        request.prediction,
        prompt_embeds,
        device,
        dtype,
        request.revision,
        attention,
    )


def pick_device(wanted: str) -> torch.device:
    """CUDA if there is any, unless told otherwise."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise WorkerError("bad_request", "device cuda was asked for, but torch sees no CUDA device")
    # One seed, one answer: kernels that pick their algorithm by racing them are not for us.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    return torch.device("cuda")


def pick_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """float16 on CUDA, float32 on the CPU, unless told otherwise."""
    if wanted == "auto":
        wanted = "float16" if device.type == "cuda" else "float32"
    return torch.float16 if wanted == "float16" else torch.float32


def import_upstream(root: Path) -> Upstream:
    """Import both pipelines from upstream's checkout.

    Upstream is no package: `pipeline.py` lies at its root and imports from a top-level package
    called `utils`, so the root must come first on the path, and stays there.

    Raises:
        WorkerError: `incompatible_upstream`.
    """
    hint = "point LOTUS_UPSTREAM_DIR at a checkout of EnVision-Research/Lotus, or unset it"
    if not (root / "pipeline.py").is_file():
        raise WorkerError("incompatible_upstream", f"no pipeline.py in {root}; {hint}")
    # diffusers says so at every start, and it is upstream's to change.
    warnings.filterwarnings("ignore", "`LoraLoaderMixin` is deprecated", FutureWarning)
    sys.path.insert(0, str(root))
    try:
        module = importlib.import_module("pipeline")
        upstream = Upstream(module.LotusDPipeline, module.LotusGPipeline)
    except Exception as error:
        logger.exception("cannot import upstream")
        reason = f"{type(error).__name__}: {error}"
        raise WorkerError(
            "incompatible_upstream", f"cannot import its pipelines from {root}: {reason}; {hint}"
        ) from error
    for pipeline in (upstream.regression, upstream.generation):
        if lacking := CALL_PARAMETERS - inspect.signature(pipeline.__call__).parameters.keys():
            raise WorkerError(
                "incompatible_upstream",
                f"{pipeline.__name__} in {root} does not take {', '.join(sorted(lacking))}; {hint}",
            )
    return upstream


def find_checkpoint(model: str) -> Path:
    """The folder of a checkpoint.

    Raises:
        WorkerError: `model_not_found`.
    """
    folder = Path(model)
    if folder.is_absolute() and (folder / "model_index.json").is_file():
        return folder
    raise WorkerError("model_not_found", f"no checkpoint in {model}: it has no model_index.json")


def open_checkpoint(upstream: Upstream, folder: Path, dtype: torch.dtype) -> tuple[Any, Mode]:
    """Read the weights, safetensors only and by known classes, and see which Lotus' they are.

    What `model_index.json` calls itself is not asked: the UNet's inputs tell, and both pipelines
    are made of the same parts.

    Raises:
        WorkerError: `incompatible_model`.
    """
    check_parts(folder)
    # from_pretrained reports to the terminal by its own progress bars and advice to end users.
    diffusers_logging.disable_progress_bar()
    try:
        pipeline = upstream.regression.from_pretrained(
            folder, torch_dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except Exception as error:  # diffusers, transformers and safetensors each have their own
        if is_out_of_memory(error):
            raise
        logger.exception("cannot load the checkpoint")
        raise WorkerError(
            "incompatible_model", f"cannot load the checkpoint in {folder}: {error}"
        ) from error
    if mismatch := _not_lotus(pipeline):
        raise WorkerError("incompatible_model", f"the checkpoint in {folder} {mismatch}")
    mode: Mode = "regression"
    if pipeline.unet.config.in_channels > pipeline.vae.config.latent_channels:
        mode = "generation"
        pipeline = upstream.generation(**pipeline.components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, mode


def encode_empty_prompt(pipeline: Any) -> torch.Tensor:
    """Embed the prompt, which is always empty, and let go of the text encoder.

    The embedding is a constant of the model, and a quarter of its parameters serve nothing else.

    Returns:
        1 x tokens x channels, in the text encoder's type.
    """
    with torch.inference_mode():
        embeds, _ = pipeline.encode_prompt(
            "", pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    pipeline.register_modules(text_encoder=None)
    return embeds.clone()  # out of inference mode: a tensor that any later code may use


def _not_lotus(pipeline: Any) -> str | None:
    for name in ("unet", "vae", "text_encoder"):
        # What the files lack stays without memory, and is only missed when it is used.
        if any(parameter.is_meta for parameter in getattr(pipeline, name).parameters()):
            return f"lacks weights of its {name}"
    unet, latent_channels = pipeline.unet.config, pipeline.vae.config.latent_channels
    # Lotus-D sees the image's latent, Lotus-G that and noise.
    if unet.in_channels not in (latent_channels, 2 * latent_channels):
        both = f"{latent_channels} or {2 * latent_channels}"
        return f"has a UNet of {unet.in_channels} input channels, not {both}"
    if unet.projection_class_embeddings_input_dim != 4:  # the task embedding's size
        return "has a UNet without Lotus' task embedding"
    return None
