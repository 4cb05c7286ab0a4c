"""Which classes a checkpoint may have itself loaded by.

`model_index.json` names a module and a class for each part, and diffusers imports what is named:
any module that is installed, or, without asking whether that is trusted, a file of that name that
lies in the part's own folder. A class of diffusers may be a pipeline, with an index of its own. So
may `_class_name` name a file, which is run before anything else, whatever class was asked for.
"""

import json
import re
from pathlib import Path
from typing import Any

from lotus_worker.errors import WorkerError

#: By part: the module and what its class is called.
CLASSES: dict[str, tuple[str, str]] = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer(Fast)?"),
    "scheduler": ("diffusers", r"[A-Za-z]+Scheduler"),
    "feature_extractor": ("transformers", "CLIP(ImageProcessor|FeatureExtractor)"),
    "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
    "safety_checker": ("stable_diffusion", "StableDiffusionSafetyChecker"),
}


def check_parts(folder: Path) -> None:
    """Refuse a checkpoint that would have code run which is none of diffusers' or transformers'.

    Raises:
        WorkerError: `incompatible_model`.
    """
    index = _index(folder)
    if not isinstance(name := index.get("_class_name"), str):
        raise _refusal(folder, f"names no pipeline: _class_name is {name!r}")
    for part, value in index.items():
        if part.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue  # a setting, or a part that the model does without
        module, pattern = CLASSES.get(part, ("", ""))
        named = value if all(isinstance(name, str) for name in value) else []
        if named[:1] != [module] or not re.fullmatch(pattern, ".".join(named[1:])):
            raise _refusal(folder, f"has a part {part} of {value!r}, which Lotus has not")
        if (folder / part / f"{module}.py").exists():
            raise _refusal(folder, f"brings its own code, {part}/{module}.py")


def _index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refusal(folder, f"has a model_index.json that cannot be read: {error}") from error
    if not isinstance(index, dict):
        raise _refusal(folder, "has a model_index.json that is no object")
    return index


def _refusal(folder: Path, what: str) -> WorkerError:
    return WorkerError("incompatible_model", f"the checkpoint in {folder} {what}")
