"""sample: what is committed is what its programs make."""

import runpy
import sys

import numpy as np
import pytest
from conftest import CHECKPOINT, SAMPLE
from PIL import Image


def relative_files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def made(tmp_path, monkeypatch, request):
    """What a program of the sample makes in an empty folder."""
    monkeypatch.setattr("sys.argv", [request.param, str(tmp_path / "made")])
    monkeypatch.setattr("sys.path", sys.path[:])
    runpy.run_path(str(SAMPLE / request.param), run_name="__main__")
    return tmp_path / "made"


@pytest.mark.parametrize("made", ["make_checkpoint.py"], indirect=True)
def test_the_checkpoint_is_what_its_program_makes_byte_for_byte(made):
    assert relative_files(made) == relative_files(CHECKPOINT)
    for file in relative_files(made):
        assert (made / file).read_bytes() == (CHECKPOINT / file).read_bytes(), file


@pytest.mark.parametrize("made", ["draw_images.py"], indirect=True)
def test_the_images_are_what_their_program_draws(made):
    images = SAMPLE / "images"
    assert relative_files(made) == relative_files(images)
    for name in relative_files(made):
        with Image.open(made / name) as drawn, Image.open(images / name) as committed:
            assert (drawn.format, drawn.mode, drawn.size) == (
                committed.format,
                committed.mode,
                committed.size,
            )
            if drawn.format == "PNG":  # the others are lossy, and their encoders differ
                np.testing.assert_array_equal(np.asarray(drawn), np.asarray(committed))
