"""Which classes a checkpoint may have itself loaded by.

`model_index.json` names a module and a class for each part, and diffusers imports what is named:
any module that is installed, or, without asking whether that is trusted, a file of that name that
lies in the part's own folder. A class of diffusers may be a pipeline, with an index of its own. So
may `_class_name` name a file, which is run before anything else, whatever class was asked for.

And diffusers 0.32.2 runs a `None.py` that no index names: it looks for a custom pipeline's file
before it asks whether there is a custom pipeline. So no folder of a checkpoint may have any code.
"""

import json
import os
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

#: Files and folders that are looked at; a released model has 30.
MAX_ENTRIES = 10_000


def check_parts(folder: Path) -> None:
    """Refuse a checkpoint that would have code run which is none of diffusers' or transformers'.

    Raises:
        WorkerError: `incompatible_model`.
    """
    index = _index(folder)
    if not isinstance(name := index.get("_class_name"), str):
        raise _refusal(folder, f"names no pipeline: _class_name is {name!r}")
    for part, value in index.items():
        if part in CLASSES:
            _check_class(folder, part, value)
        elif isinstance(value, list) and not part.startswith("_"):
            raise _refusal(folder, f"has a part {part} of {value!r}, which Lotus has not")
    if code := _find_code(folder):
        raise _refusal(folder, f"brings its own code, {code}")


def _check_class(folder: Path, part: str, value: Any) -> None:
    """Whatever the value is, diffusers takes it apart into two: a string of two letters as well."""
    match value:
        case [None, None]:
            return  # a part that the model does without
        case [str(module), str(name)]:
            wanted, pattern = CLASSES[part]
            if module != wanted or not re.fullmatch(pattern, name):
                raise _refusal(folder, f"has a part {part} of {value!r}, which Lotus has not")
        case _:
            raise _refusal(folder, f"has a part {part} of {value!r}, no module and class")
    # Through links too, which the walk over the folder does not follow.
    if (folder / part / f"{module}.py").exists():
        raise _refusal(folder, f"brings its own code, {part}/{module}.py")


def _find_code(folder: Path) -> Path | None:
    """A Python file anywhere in the folder, links to one among them; links to folders are not
    followed.
    """
    seen = 0
    for root, folders, files in os.walk(folder):
        seen += len(folders) + len(files)
        if seen > MAX_ENTRIES:
            raise _refusal(folder, f"has more than {MAX_ENTRIES} files: point MODEL_ID at it alone")
        for name in files:
            if name.lower().endswith(".py"):
                return (Path(root) / name).relative_to(folder)
    return None


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
