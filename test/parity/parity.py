"""Holds `lotus-worker infer` against upstream's pipelines called directly, bit for bit.

    VENV/bin/python test/parity/parity.py --upstream CHECKOUT --model CHECKPOINT [--quick]

For every set of options it draws images of odd sizes, runs the command line on them (settings
LOTUS_UPSTREAM_DIR and MODEL_ID, output `--format npy`, on the CPU), calls the pipeline of the same
checkout on the same pixels as upstream's `infer.py` does, without its autocast, and compares the
float maps; and the coloured pictures with what its `colorize_depth_map` makes of them, where the
checkout has one. After LotusDPipeline with the model as it is come the model as if it predicted
normals, and LotusGPipeline with one that is made of it. It ends with code 1 when one value differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]

#: Landscape and portrait, multiples of 8 and not, smaller and larger than what they are scaled to.
SIZES = [(640, 480), (641, 427), (333, 517), (96, 72), (1023, 301)]


@dataclass(frozen=True)
class Case:
    """A set of options, as flags of ours and as arguments of upstream's."""

    flags: list[str]
    arguments: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    timestep: int = 999
    kind: str = "disparity"  # or normals, or generation


CASES = [
    Case([]),
    Case(["--processing-res", "256"], {"processing_res": 256}),
    Case(["--output-processing-res"], {"match_input_res": False}),
    Case(["--processing-res", "0"], {"processing_res": 0}),
    Case(["--processing-res", "512"], {"processing_res": 512}),
    Case(["--resample-method", "bilinear"], {"resample_method": "bilinear"}),
    Case(["--resample-method", "bicubic"], {"resample_method": "bicubic"}),
    Case(["--resample-method", "nearest"], {"resample_method": "nearest"}),
    Case(
        ["--processing-res", "0", "--output-processing-res"],
        {"processing_res": 0, "match_input_res": False},
    ),
    Case(["--seed", "42", "--timestep", "500"], seed=42, timestep=500),
    Case(["--processing-res", "256"], {"processing_res": 256}, kind="normals"),
    Case([], kind="normals"),
    Case(["--processing-res", "256"], {"processing_res": 256}, kind="generation"),
    Case(["--seed", "42"], seed=42, kind="generation"),
]
#: Those that `--quick` takes.
QUICK = [
    *CASES[:3],
    *(next(case for case in CASES if case.kind == kind) for kind in ("normals", "generation")),
]


def draw(size: tuple[int, int], seed: int) -> Image.Image:
    """Blocks of random colour under noise: structure at every scale."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = rng.integers(-20, 21, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def upstream_map(pipeline: Any, image: Image.Image, case: Case) -> np.ndarray:
    """What upstream's infer.py computes with a seed: H x W float32, of normals H x W x 3."""
    pixels = np.array(image.convert("RGB")).astype(np.float32)
    rgb = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1.0
    task = torch.tensor([1, 0]).float().unsqueeze(0)
    torch.manual_seed(case.seed)
    with torch.no_grad():
        output = pipeline(
            rgb_in=rgb,
            prompt="",
            num_inference_steps=1,
            generator=torch.Generator().manual_seed(case.seed),
            output_type="np",
            timesteps=[case.timestep],
            task_emb=torch.cat([torch.sin(task), torch.cos(task)], dim=-1),
            **case.arguments,
        )
    return output.images[0] if case.kind == "normals" else output.images[0].mean(axis=-1)


@dataclass(frozen=True)
class Ours:
    """What the command line writes for an image."""

    depth: np.ndarray  # H x W, float32
    color: np.ndarray | None  # H x W x 3, uint8


def our_maps(
    upstream: str, models: dict[str, Path], images: Path, out: Path, case: Case
) -> dict[str, Ours]:
    """What the command line writes, by the image's name."""
    command = [str(ROOT / "bootstrap"), "infer", str(images), "--output", str(out)]
    settings = {
        "LOTUS_UPSTREAM_DIR": upstream,
        "MODEL_ID": str(models[case.kind]),
        "LOTUS_MODEL_PREDICTION": "normals" if case.kind == "normals" else "disparity",
        "LOTUS_DEVICE": "cpu",
        "LOTUS_DTYPE": "float32",
    }
    subprocess.run(
        [*command, "--format", "npy" if case.kind == "normals" else "npy,color", *case.flags],
        env=os.environ | settings,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return {file.stem: read(file) for file in out.glob("*.npy")}


def read(npy: Path) -> Ours:
    color = npy.with_suffix(".color.png")
    return Ours(np.load(npy), np.asarray(Image.open(color)) if color.exists() else None)


def colorizer(upstream: str) -> Callable[..., Image.Image] | None:
    """The checkout's `colorize_depth_map`; None where it has none, as the stand-in."""
    if not Path(upstream, "utils", "image_utils.py").exists():
        return None
    from utils.image_utils import colorize_depth_map

    return colorize_depth_map


def compare(ours: Ours | None, theirs: np.ndarray, colorize: Any) -> str | None:
    """How two maps, or what is made of them, differ; None when they are the same bits."""
    if ours is None:
        return "no map"
    if difference := compare_maps(ours.depth, theirs):
        return difference
    if ours.color is None:
        return None if theirs.ndim == 3 else "no colours"
    # The sample predicts disparity, and so does infer.py with --disparity.
    if colorize and not np.array_equal(ours.color, np.asarray(colorize(theirs, None, True))):
        return "other colours"
    return None


def compare_maps(ours: np.ndarray, theirs: np.ndarray) -> str | None:
    """How two maps differ; None when they are the same bits."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return f"{ours.dtype} {ours.shape}, upstream {theirs.dtype} {theirs.shape}"
    if np.array_equal(ours.view(np.uint32), theirs.view(np.uint32)):
        return None
    return f"largest difference {np.abs(ours - theirs).max():.3g}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--upstream", required=True, type=lambda p: str(Path(p).resolve()))
    parser.add_argument("--model", required=True, type=lambda p: str(Path(p).resolve()))
    parser.add_argument("--quick", action="store_true", help="only some of the sets of options")
    args = parser.parse_args()

    sys.path[:0] = [args.upstream, str(ROOT / "sample")]
    colorize = colorizer(args.upstream)
    print("colours are compared, too" if colorize else "this checkout has no colorize_depth_map")
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        images = draw_all(Path(scratch, "images"))
        models, pipelines = make_models(Path(args.model), Path(scratch, "generation"))
        for number, case in enumerate(QUICK if args.quick else CASES):
            maps = our_maps(args.upstream, models, images, Path(scratch, str(number)), case)
            for file in sorted(images.glob("*.png")):
                theirs = upstream_map(pipelines[case.kind], Image.open(file), case)
                difference = compare(maps.get(file.stem), theirs, colorize)
                differing += difference is not None
                verdict = difference or f"identical, {theirs.shape[1]}x{theirs.shape[0]}"
                label = " ".join([case.kind, *case.flags])
                print(f"{label:45} {file.stem:9} {verdict}", flush=True)
    print(f"{differing} maps differ")
    return 1 if differing else 0


def draw_all(folder: Path) -> Path:
    folder.mkdir()
    for seed, (width, height) in enumerate(SIZES):
        draw((width, height), seed).save(folder / f"{width}x{height}.png")
    return folder


def make_models(model: Path, generation: Path) -> tuple[dict[str, Path], dict[str, Any]]:
    """By kind, the checkpoints and upstream's pipelines of them."""
    from pipeline import LotusDPipeline, LotusGPipeline

    from train.generation import make_generation

    models = {
        "disparity": model,
        "normals": model,
        "generation": make_generation(model, generation),
    }
    regression = LotusDPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipelines = {
        "disparity": regression,
        "normals": regression,
        "generation": LotusGPipeline.from_pretrained(generation, torch_dtype=torch.float32),
    }
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return models, pipelines


if __name__ == "__main__":
    sys.exit(main())
