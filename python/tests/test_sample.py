"""sample: what is committed is what its programs make."""

import runpy

import numpy as np
import pytest
import torch
from conftest import CHECKPOINT, PROJECT, SAMPLE
from PIL import Image

from train.images import IMAGES, SAMPLES, SIZE
from train.model import make_pipeline, parts, predict
from train.render import render
from train.scenes import SHOWN

FIXTURES = PROJECT / "test" / "fixtures" / "images"


def pixels_of(path):
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


def test_the_tests_images_are_what_their_program_draws(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["draw.py", str(tmp_path)])
    runpy.run_path(str(FIXTURES / "draw.py"), run_name="__main__")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in FIXTURES.iterdir() if path.suffix != ".py")
    for name in names:
        with Image.open(tmp_path / name) as drawn, Image.open(FIXTURES / name) as committed:
            assert drawn.format == committed.format
            assert drawn.mode == committed.mode
            assert drawn.size == committed.size
            if drawn.format == "PNG":  # the others are lossy, and their encoders differ
                np.testing.assert_array_equal(np.asarray(drawn), np.asarray(committed))


@pytest.mark.parametrize(
    # Lossless: to a last bit, which NumPy's sines do not share on all processors. Lossy: about.
    ("name", "most"),
    [("playroom.png", 2), ("room.jpg", 40)],
)
def test_the_images_are_scenes_that_were_never_trained_on(name, most):
    index, _ = IMAGES[name]
    drawn = render(SHOWN, index, *SIZE, samples=SAMPLES).rgb.astype(int)
    assert np.abs(drawn - pixels_of(SAMPLE / "images" / name)).max() <= most


def test_the_checkpoint_has_the_architecture_that_is_trained():
    made = make_pipeline(seed=0)
    saved = type(made).from_pretrained(CHECKPOINT, torch_dtype=torch.float32)
    for new, old in zip(parts(made), parts(saved), strict=True):
        assert {name: value.shape for name, value in new.state_dict().items()} == {
            name: value.shape for name, value in old.state_dict().items()
        }


def test_the_checkpoint_is_small_enough_for_git_and_has_no_pickles():
    files = [path for path in CHECKPOINT.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12e6
    assert {path.suffix for path in files} == {".json", ".txt", ".safetensors"}


@pytest.mark.parametrize(("width", "height"), [(128, 96), (72, 200)])
def test_what_is_trained_is_what_the_pipeline_computes(pipeline, width, height):
    rgb = torch.rand(1, 3, height, width, generator=torch.manual_seed(3)) * 2 - 1
    prompt, _ = pipeline.encode_prompt("", torch.device("cpu"), 1, False)
    torch.manual_seed(7)
    trained = predict(pipeline, rgb, prompt).clamp(0, 1)
    torch.manual_seed(7)
    task = torch.tensor([[1.0, 0.0]])
    (called,) = pipeline(
        rgb_in=rgb,
        prompt="",
        timesteps=[999],
        task_emb=torch.cat([torch.sin(task), torch.cos(task)], dim=-1),
        output_type="pt",
        processing_res=0,
    ).images
    torch.testing.assert_close(trained[0], called, rtol=0, atol=1e-5)
