"""Trains the sample model: `python -m train` in the folder `sample`.

Draws scenes as it goes, and writes every so often what it takes to go on; `train.export` makes a
checkpoint of that.
"""

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .batches import Batch, Scenes, load
from .losses import first_loss, loss
from .model import make_pipeline, predict, trained_weights

SEED = 20240926  # the day the Lotus paper appeared
WARM_UP = 200
DECAY = 0.998
#: Steps between two states that are written.
EVERY = 500
#: Of pictures, in pixels: three of four are about 128x96.
AREAS = [128 * 96] * 3 + [160 * 120]


def main(arguments: list[str] | None = None) -> None:
    flags = _flags(arguments)
    pipeline = make_pipeline(SEED)
    trainer = Trainer(pipeline, flags.rate, flags.steps, flags.first_steps)
    state = Path(flags.output, "state.pt")
    if state.exists():
        trainer.load(torch.load(state, weights_only=True))
    elif flags.start:
        trainer.start_from(torch.load(flags.start, weights_only=True))
        if trainer.step >= flags.steps:
            raise SystemExit(
                f"{flags.start} is of step {trainer.step}; give more --steps than that"
            )
    scenes = Scenes(flags.batch, flags.areas, trainer.step)
    batches = load(scenes, flags.workers)
    since, mean = time.monotonic(), math.nan
    until = flags.until or flags.steps
    while trainer.step < until:
        value = trainer.learn(batches)
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        if trainer.step % 50 == 0:
            print(f"{trainer.step} {mean:.4f} {time.monotonic() - since:.0f} s", flush=True)
        if trainer.step % EVERY == 0 or trainer.step == until:
            save(trainer, Path(flags.output))


def _flags(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m train")
    parser.add_argument("--output", default="training", help="folder of the checkpoint")
    parser.add_argument("--steps", type=int, default=3000, help="the last; the rate falls until it")
    parser.add_argument("--first-steps", type=int, default=800, help="with the first loss")
    parser.add_argument("--start", help="with the weights of this state, in a run of its own")
    parser.add_argument("--until", type=int, help="stop after this one; default: the last")
    parser.add_argument("--batch", type=int, default=8, help="pictures of the smallest area")
    parser.add_argument("--areas", type=int, nargs="+", default=AREAS)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate, at its highest")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    return parser.parse_args(arguments)


class Trainer:
    """Weights that learn, and their running mean, which is what is kept."""

    def __init__(self, pipeline: Any, rate: float, steps: int, first_steps: int) -> None:
        self.pipeline, self.step, self.first_steps = pipeline, 0, first_steps
        self._first = 0  # the step that this run began at
        with torch.no_grad():
            self._prompt, _ = pipeline.encode_prompt("", torch.device("cpu"), 1, False)
        self._weights = trained_weights(pipeline)
        self._mean = [weight.detach().clone() for weight in self._weights]
        self._optimizer = torch.optim.AdamW(self._weights, lr=rate, weight_decay=1e-3)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _rate(step, steps - self._first)
        )

    def learn(self, batches: Iterator[Batch]) -> float:
        value = self._loss(*next(batches))
        self._optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        decay = min(DECAY, self.step / (self.step + 10))
        for mean, weight in zip(self._mean, self._weights, strict=True):
            mean.lerp_(weight.detach(), 1 - decay)
        return value.item()

    def _loss(
        self, rgb: torch.Tensor, disparity: torch.Tensor, normals: torch.Tensor
    ) -> torch.Tensor:
        if self.step == self.first_steps:
            self._show_disparity_only()
        predicted = predict(self.pipeline, rgb / 127.5 - 1, self._prompt)
        if self.step >= self.first_steps:
            return loss(predicted, disparity)
        facing_up = normals[:, 1:2] / 2 + 0.5
        return first_loss(predicted, rgb / 255, torch.cat([disparity, facing_up], dim=1))

    @torch.no_grad()
    def _show_disparity_only(self) -> None:
        """All three channels become the first one."""
        last = self.pipeline.vae.decoder.conv_out
        for values in (last.weight, last.bias):
            values[1:] = values[:1]

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "first": self._first,
            "weights": [weight.detach() for weight in self._weights],
            "mean": self._mean,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "random": torch.get_rng_state(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state, as if there had been no break."""
        self._take(state["weights"], state["mean"])
        self.step, self._first = state["step"], state.get("first", 0)
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["random"])

    def start_from(self, state: dict[str, Any]) -> None:
        """Begin anew with what was kept of another run, on scenes that it has not seen.

        The rate warms up again: weights that are nearly done lose most of it at a full one.
        """
        self._take(state["mean"], [mean.clone() for mean in state["mean"]])
        self.step = self._first = state["step"]

    @torch.no_grad()
    def _take(self, weights: list[torch.Tensor], mean: list[torch.Tensor]) -> None:
        for weight, kept in zip(self._weights, weights, strict=True):
            weight.copy_(kept)
        self._mean = mean


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * (0.02 + 0.98 * (1 + math.cos(math.pi * min(step / steps, 1))) / 2)


def save(trainer: Trainer, folder: Path) -> None:
    """Write the state to go on from, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.pt.partial"
    torch.save(trainer.state(), state)
    state.rename(folder / "state.pt")


if __name__ == "__main__":
    main()
