"""Writes the checkpoint of a training: `python -m train.export training/state.pt checkpoint`."""

import sys
from pathlib import Path

import torch

from .__main__ import SEED
from .model import make_pipeline, parts, trained_weights


def main() -> None:
    state, folder = Path(sys.argv[1]), Path(sys.argv[2])
    pipeline = make_pipeline(SEED)
    learned = torch.load(state, weights_only=True)["mean"]
    with torch.no_grad():
        for weight, mean in zip(trained_weights(pipeline), learned, strict=True):
            weight.copy_(mean)
    pipeline.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    count = sum(weight.numel() for part in parts(pipeline) for weight in part.parameters())
    print(f"{folder}: {count / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
