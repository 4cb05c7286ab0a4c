"""Holds `lotus-worker infer` against upstream's LotusDPipeline called directly, bit for bit.

    VENV/bin/python test/parity/parity.py --upstream CHECKOUT --model CHECKPOINT [--quick]

For every set of options it draws images of odd sizes, runs the command line on them (settings
LOTUS_UPSTREAM_DIR and MODEL_ID, output `--format npy`, on the CPU), calls the pipeline of the same
checkout on the same pixels as upstream's `infer.py` does, without its autocast, and compares the
float maps; and the coloured pictures with what its `colorize_depth_map` makes of them, where the
checkout has one. It ends with code 1 when one value differs.
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
]
#: How many of them `--quick` takes, from the top.
QUICK = 3


def draw(size: tuple[int, int], seed: int) -> Image.Image:
    """Blocks of random colour under noise: structure at every scale."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC), np.int16)
    noise = rng.integers(-20, 21, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def upstream_map(pipeline: Any, image: Image.Image, case: Case) -> np.ndarray:
    """What upstream's infer.py computes, H x W float32."""
    pixels = np.array(image.convert("RGB")).astype(np.float32)
    rgb = torch.tensor(pixels).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1.0
    task = torch.tensor([1, 0]).float().unsqueeze(0)
    torch.manual_seed(case.seed)
    with torch.no_grad():
        output = pipeline(
            rgb_in=rgb,
            prompt="",
            num_inference_steps=1,
            generator=None,
            output_type="np",
            timesteps=[case.timestep],
            task_emb=torch.cat([torch.sin(task), torch.cos(task)], dim=-1),
            **case.arguments,
        )
    return output.images[0].mean(axis=-1)


@dataclass(frozen=True)
class Ours:
    """What the command line writes for an image."""

    depth: np.ndarray  # H x W, float32
    color: np.ndarray  # H x W x 3, uint8


def our_maps(args: argparse.Namespace, images: Path, out: Path, case: Case) -> dict[str, Ours]:
    """What the command line writes, by the image's name."""
    command = [str(ROOT / "bootstrap"), "infer", str(images), "--output", str(out)]
    settings = {
        "LOTUS_UPSTREAM_DIR": args.upstream,
        "MODEL_ID": args.model,
        "LOTUS_DEVICE": "cpu",
        "LOTUS_DTYPE": "float32",
    }
    subprocess.run(
        [*command, "--format", "npy,color", *case.flags],
        env=os.environ | settings,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    return {
        file.stem: Ours(np.load(file), np.asarray(Image.open(file.with_suffix(".color.png"))))
        for file in out.glob("*.npy")
    }


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
    parser.add_argument(
        "--quick", action="store_true", help=f"only the first {QUICK} sets of options"
    )
    args = parser.parse_args()

    sys.path.insert(0, args.upstream)
    from pipeline import LotusDPipeline

    pipeline = LotusDPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    colorize = colorizer(args.upstream)
    print("colours are compared, too" if colorize else "this checkout has no colorize_depth_map")
    differing = 0
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch, "images")
        images.mkdir()
        for seed, (width, height) in enumerate(SIZES):
            draw((width, height), seed).save(images / f"{width}x{height}.png")
        for number, case in enumerate(CASES[:QUICK] if args.quick else CASES):
            maps = our_maps(args, images, Path(scratch, str(number)), case)
            for file in sorted(images.glob("*.png")):
                theirs = upstream_map(pipeline, Image.open(file), case)
                difference = compare(maps.get(file.stem), theirs, colorize)
                differing += difference is not None
                verdict = difference or f"identical, {theirs.shape[1]}x{theirs.shape[0]}"
                print(f"{' '.join(case.flags) or 'default':45} {file.stem:9} {verdict}", flush=True)
    print(f"{differing} maps differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
