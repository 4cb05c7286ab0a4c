"""The other side of the benchmark: the plan's handler under RunPod's own Python SDK.

One synchronous function, as the plan has it, on the same model. Beside the plan: `MODEL` and
`UPSTREAM` name the checkpoint and the checkout, `BENCH_OUTPUT` the folder for pictures, and
`BENCH_CONCURRENCY`, where it is set, is what the SDK may take at the same time.

With `--limit N` there is no SDK: the pipeline alone is called N times on one image, and the maps a
second are printed, which no worker can exceed.
"""

import base64
import hmac
import io
import json
import os
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, os.environ["UPSTREAM"])
from pipeline import LotusDPipeline

API_KEY = os.environ.get("LOTUS_API_KEY")
OUTPUT = Path(os.environ["BENCH_OUTPUT"])
MAX_PIXELS = 4096 * 4096
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.float16 if DEVICE == "cuda" else torch.float32

pipe = LotusDPipeline.from_pretrained(os.environ["MODEL"], torch_dtype=DTYPE).to(DEVICE)
pipe.set_progress_bar_config(disable=True)
task = torch.tensor([1.0, 0.0], device=DEVICE)
TASK_EMB = torch.cat([torch.sin(task), torch.cos(task)]).unsqueeze(0).to(DTYPE)


def read_image(job_input: dict) -> np.ndarray:
    """The image, H x W x 3, 8 bits."""
    data = base64.b64decode(job_input["image_base64"])
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def predict(image: np.ndarray, processing_res: int | None) -> np.ndarray:
    """The map, H x W, in [0, 1]."""
    planes = image.astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
    rgb_in = torch.from_numpy(planes).unsqueeze(0).to(DEVICE, DTYPE)
    with torch.no_grad(), torch.autocast(DEVICE, enabled=DEVICE == "cuda"):
        output = pipe(
            rgb_in=rgb_in,
            prompt="",
            num_inference_steps=1,
            generator=None,
            output_type="np",
            timesteps=[999],
            task_emb=TASK_EMB,
            processing_res=processing_res,
            match_input_res=True,
            resample_method="bilinear",
        )
    return output.images[0].mean(axis=-1)


def to_png(depth: np.ndarray) -> Image.Image:
    low, high = depth.min(), depth.max()
    return Image.fromarray((255 * (depth - low) / max(high - low, 1e-6)).astype(np.uint8))


def handler(job: dict) -> dict:
    """The plan's, key first and the PNG encoded twice."""
    job_input = job["input"]
    if not API_KEY or not hmac.compare_digest(str(job_input.get("api_key")), API_KEY):
        return {"error": "Unauthorized", "status": 401}
    image = read_image(job_input)
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        return {"error": "Image too large; max 4096x4096 pixels.", "status": 400}
    depth = predict(image, job_input.get("processing_res"))
    picture = to_png(depth)
    file = OUTPUT / f"{uuid.uuid4()}.png"
    picture.save(file)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return {
        "image_base64": base64.b64encode(buffer.getvalue()).decode(),
        "min": float(depth.min()),
        "max": float(depth.max()),
        "file_path": str(file),
    }


def measure_limit(count: int, job_input: dict) -> float:
    """Maps a second of the pipeline alone."""
    image = read_image(job_input)
    predict(image, job_input.get("processing_res"))  # the first one sets things up
    since = time.perf_counter()
    for _ in range(count):
        predict(image, job_input.get("processing_res"))
    return count / (time.perf_counter() - since)


if __name__ == "__main__":
    if "--limit" in sys.argv:
        number = int(sys.argv[sys.argv.index("--limit") + 1])
        print(json.dumps({"maps_per_second": measure_limit(number, json.load(sys.stdin))}))
    else:
        import runpod

        config = {"handler": handler}
        if concurrency := os.environ.get("BENCH_CONCURRENCY"):
            config["concurrency_modifier"] = lambda _current: int(concurrency)
        runpod.serverless.start(config)
