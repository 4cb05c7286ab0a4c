"""Evaluates a checkpoint on the held-out scenes: `python -m evaluate` in the folder `sample`.

The pipeline is called as the worker calls it, in float32 on the CPU; the real upstream's with
`--upstream CHECKOUT`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluate.baselines import darkness, gradient
from evaluate.metrics import Score, mean, score
from train.model import TIMESTEP, task_embedding
from train.render import View, render
from train.scenes import HELD_OUT, HELD_OUT_COUNT, HELD_OUT_SIZE

SAMPLE = Path(__file__).resolve().parent.parent

Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main() -> None:
    flags = _flags()
    model = load_model(flags.model, flags.upstream, flags.processing_res)
    contestants: dict[str, Predict] = {
        "model": model,
        "vertical gradient": gradient,
        "blurred darkness": darkness,
    }
    scores: dict[str, list[Score]] = {name: [] for name in contestants}
    for view in held_out(flags.scenes):
        for name, predict in contestants.items():
            scores[name].append(score(predict(view.rgb), view.disparity))
    means = {name: mean(of) for name, of in scores.items()}
    if flags.json:
        print(json.dumps({name: asdict(of) for name, of in means.items()}))
        return
    print(f"| {flags.scenes} held-out scenes | AbsRel | delta1 |\n|---|---|---|")
    for name, of in means.items():
        print(f"| {name} | {of.abs_rel:.3f} | {of.delta1:.3f} |")


def _flags() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m evaluate")
    parser.add_argument("--model", type=Path, default=SAMPLE / "checkpoint")
    parser.add_argument("--upstream", type=Path, default=SAMPLE / "upstream")
    parser.add_argument("--scenes", type=int, default=HELD_OUT_COUNT, help="the first so many")
    parser.add_argument("--processing-res", type=int, default=0, help="0: as they are, 320x240")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def held_out(count: int) -> Iterator[View]:
    for index in range(count):
        yield render(HELD_OUT, index, *HELD_OUT_SIZE)


def load_model(checkpoint: Path, upstream: Path, processing_res: int) -> Predict:
    """Load a checkpoint, to be called with H x W x 3 of uint8."""
    sys.path.insert(0, str(upstream))
    from pipeline import LotusDPipeline  # pyright: ignore[reportMissingImports]

    pipeline: Any = LotusDPipeline.from_pretrained(checkpoint, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def predict(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        torch.manual_seed(0)
        image = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 127.5 - 1.0
        (depth,) = pipeline(
            rgb_in=image,
            prompt="",
            timesteps=[TIMESTEP],
            task_emb=task_embedding(image),
            output_type="np",
            processing_res=processing_res,
        ).images
        return depth.mean(axis=-1)

    return predict


if __name__ == "__main__":
    main()
