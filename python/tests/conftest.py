"""What the tests share: the sample model, loaded once a type, and talks with real processes."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

# Before the hub's library is imported: nothing here asks the real hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
import torch

from lotus_worker.loading import load
from lotus_worker.lotus import Lotus
from lotus_worker.protocol import (
    Hello,
    Image,
    Load,
    Options,
    Picture,
    Planes,
    Prediction,
    Reply,
    Request,
    Result,
    Run,
    encode,
    parse_reply,
)
from lotus_worker.stages import LOAD_STAGES, Stages
from train.generation import make_generation

PYTHON_ROOT = Path(__file__).resolve().parents[1]
PROJECT = PYTHON_ROOT.parent
SAMPLE = PROJECT / "sample"
UPSTREAM = SAMPLE / "upstream"
CHECKPOINT = SAMPLE / "checkpoint"

#: Ends a process that hangs, so that its test fails instead of waiting for ever. Far above what any
#: single answer here takes.
HANG_SECONDS = 60

Dtype = Literal["float16", "float32"]

DEFAULTS = Options(
    timestep=999,
    processing_res=None,
    output_processing_res=False,
    resample_method="bilinear",
    upsample_method="nearest",
    seed=0,
    ensemble_size=1,
)
MINMAX = Picture(normalize="minmax", invert=False, reverse_color=False)
NO_PLANES = Planes(float32=None, uint8=None, uint16=None, color=None, exr=None, uncertainty=None)


def draw(width: int, height: int, seed: int = 0) -> np.ndarray:
    """H x W x 3 bytes: a gradient under noise."""
    x, y = np.linspace(0, 200, width), np.linspace(0, 200, height)[:, None]
    smooth = np.stack([x + 0 * y, y + 0 * x, (x + y) / 2], axis=-1)
    noise = np.random.default_rng(seed).integers(0, 56, smooth.shape)
    return (smooth + noise).astype(np.uint8)


def write_image(folder: Path, pixels: np.ndarray) -> Image:
    path = folder / "image.rgb"
    path.write_bytes(pixels.tobytes())
    return Image(path=str(path), width=pixels.shape[1], height=pixels.shape[0])


# --- the model, in this process


@dataclass(frozen=True)
class Answer:
    """What one run gave."""

    result: Result
    depth: np.ndarray  # H x W, or H x W x 3, float32
    pixels: np.ndarray  # of the same shape, uint8
    stages: list[tuple[str, float]]


def load_request(
    model: Path | str = CHECKPOINT,
    *,
    upstream: Path = UPSTREAM,
    revision: str | None = None,
    prediction: Prediction = "disparity",
    dtype: Dtype = "float32",
) -> Load:
    return Load(
        id="load",
        upstream=str(upstream),
        model=str(model),
        revision=revision,
        prediction=prediction,
        device="cpu",
        dtype=dtype,
    )


def load_stages(on_begin: Callable[[str, float], None] = lambda _name, _fraction: None) -> Stages:
    """The stages of a load of which the first has begun, as the server begins it."""
    stages = Stages(LOAD_STAGES, on_begin)
    stages.begin("imports")
    return stages


def run_on(
    lotus: Lotus, folder: Path, pixels: np.ndarray, picture: Picture = MINMAX, **options: Any
) -> Answer:
    """Run the model on an image and read back what it wrote."""
    depth, uint8 = folder / "depth.f32", folder / "depth.u8"
    stages: list[tuple[str, float]] = []
    request = Run(
        id="run",
        image=write_image(folder, pixels),
        options=replace(DEFAULTS, **options),
        picture=picture,
        planes=replace(NO_PLANES, float32=str(depth), uint8=str(uint8)),
    )
    result = lotus.run(request, lambda name, fraction: stages.append((name, fraction)))
    shape = (result.height, result.width, result.channels)[: 2 if result.channels == 1 else 3]
    return Answer(
        result,
        np.fromfile(depth, "<f4").reshape(shape),
        np.fromfile(uint8, np.uint8).reshape(shape),
        stages,
    )


@pytest.fixture(scope="session")
def lotus() -> Lotus:
    return Lotus(load_request(), load_stages())


@pytest.fixture(scope="session")
def half_lotus() -> Lotus:
    return Lotus(load_request(dtype="float16"), load_stages())


@pytest.fixture(scope="session")
def generation_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, made one of Lotus-G's kind."""
    return make_generation(CHECKPOINT, tmp_path_factory.mktemp("generation") / "checkpoint")


@pytest.fixture
def unet() -> Any:
    """The sample's UNet in float32, one that a test may change."""
    return load(load_request(), load_stages()).pipeline.unet


@pytest.fixture(scope="session")
def pipeline(lotus: Lotus) -> Any:
    """The stand-in for upstream's LotusDPipeline, untouched by the worker, text encoder and all."""
    pipeline = type(lotus._loaded.pipeline).from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@contextmanager
def changed(module: torch.nn.Module, **values: torch.Tensor) -> Generator[None]:
    """Give parameters other values for a while; `bias=...` is the module's parameter `bias`."""
    before = {name: module.get_parameter(name).detach().clone() for name in values}

    def put(state: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in state.items():
                module.get_parameter(name).copy_(value)

    put(values)
    try:
        yield
    finally:
        put(before)


# --- real processes


class Worker:
    """A worker process and the conversation with it, of which hello has been heard.

    Start it from the main thread: it dies with the thread that started it.

    Args:
        env: added to this process's environment.
    """

    def __init__(self, **env: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "lotus_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(**env),
        )
        assert self.process.stdin and self.process.stdout
        self.requests, self.replies = self.process.stdin, self.process.stdout
        self.hello = self.receive()
        assert isinstance(self.hello, Hello)

    def send(self, *messages: Request) -> None:
        self.send_bytes(b"".join(encode(message) for message in messages))

    def send_bytes(self, data: bytes) -> None:
        self.requests.write(data)
        self.requests.flush()

    def receive(self) -> Reply:
        with self._not_for_ever():
            line = self.replies.readline()
        assert line.endswith(b"\n"), f"the process ended (or hung and was killed) at {line!r}"
        return parse_reply(line[:-1])

    def receive_until(self, *kinds: type[Reply]) -> list[Reply]:
        """The replies up to the first of these kinds."""
        replies = [self.receive()]
        while not isinstance(replies[-1], kinds):
            replies.append(self.receive())
        return replies

    def ask(self, message: Request, *kinds: type[Reply]) -> Any:
        """Send, and return the first reply of these kinds."""
        self.send(message)
        return self.receive_until(*kinds)[-1]

    def close_input(self) -> None:
        self.requests.close()

    def receive_rest(self) -> list[Reply]:
        """The replies up to the end of the process."""
        with self._not_for_ever():
            return [parse_reply(line[:-1]) for line in self.replies]

    def exit_code(self) -> int:
        return self.process.wait(HANG_SECONDS)

    @contextmanager
    def _not_for_ever(self) -> Generator[None]:
        watchdog = threading.Timer(HANG_SECONDS, self.process.kill)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.cancel()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.wait()
        self.requests.close()
        self.replies.close()


def child_environment(**env: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PYTHON_ROOT)} | env


def run_python(code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run code in a Python of its own, with lotus_worker importable."""
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *args],
        env=child_environment(),
        capture_output=True,
        check=True,
        timeout=HANG_SECONDS,
        **options,
    )


def of_kind[R](kind: type[R], replies: Iterable[Reply]) -> list[R]:
    return [reply for reply in replies if isinstance(reply, kind)]
