"""planes: from a float map to pixels and files."""

import numpy as np
import pytest
import torch
from conftest import run_python

from lotus_worker.planes import quantize, value_range, write_planes
from lotus_worker.protocol import Normalize, Picture, Planes


def random_map(shape, seed=0, spread=1.0, offset=0.0):
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return values * np.float32(spread) + np.float32(offset)


def picture(normalize: Normalize = "minmax", invert: bool = False) -> Picture:
    return Picture(normalize=normalize, invert=invert)


def pixels_of(d, normalize: Normalize = "minmax", invert=False):
    depth = torch.from_numpy(d)
    return quantize(depth, value_range(depth, picture(normalize, invert))).numpy()


@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (64, 64), (333, 517), (427, 641)])
@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (0.01, 0.4), (1e-6, 0.5)])
def test_pixels_are_the_floor_of_255_times_the_normalised_value_bit_for_bit(shape, spread, offset):
    for seed in range(3):
        d = random_map(shape, seed, spread, offset)
        expected = ((d - d.min()) / (d.max() - d.min()) * 255).astype(np.uint8)
        np.testing.assert_array_equal(pixels_of(d), expected)


def test_inverting_gives_the_formula_of_the_map_turned_round():
    d = random_map((100, 70))
    expected = ((d.max() - d) / (d.max() - d.min()) * 255).astype(np.uint8)
    np.testing.assert_array_equal(pixels_of(d, invert=True), expected)


def test_the_range_is_what_becomes_pixel_0_and_pixel_255():
    d = torch.tensor([[0.25, 0.5, 0.75]])
    assert value_range(d, picture()) == (0.25, 0.75)
    assert value_range(d, picture(invert=True)) == (0.75, 0.25)
    assert quantize(d, (0.25, 0.75)).tolist() == [[0, 127, 255]]
    assert quantize(d, (0.75, 0.25)).tolist() == [[255, 127, 0]]


@pytest.mark.parametrize("normalize", ["minmax", "percentile"])
@pytest.mark.parametrize("invert", [False, True])
def test_a_flat_map_gives_zeros(normalize, invert):
    flat = np.full((5, 7), 0.3, np.float32)
    np.testing.assert_array_equal(pixels_of(flat, normalize, invert), np.zeros((5, 7), np.uint8))


def test_none_takes_values_as_they_are_from_0_to_1():
    d = np.array([[0.2, 0.5, 0.7]], np.float32)
    assert value_range(torch.from_numpy(d), picture("none")) == (0.0, 1.0)
    np.testing.assert_array_equal(pixels_of(d, "none"), (d * 255).astype(np.uint8))


def test_percentile_takes_order_statistics_and_clips_what_lies_outside():
    # 0..100 in a random order: the 2nd and the 98th percentile are values of the map itself.
    d = np.random.default_rng(0).permutation(101).astype(np.float32).reshape(1, 101)
    assert value_range(torch.from_numpy(d), picture("percentile")) == (2.0, 98.0)
    pixels = pixels_of(d, "percentile")
    assert set(pixels[d <= 2]) == {0}
    assert set(pixels[d >= 98]) == {255}
    between = (d > 2) & (d < 98)
    np.testing.assert_array_equal(pixels[between], ((d[between] - 2) / 96 * 255).astype(np.uint8))


def test_percentile_is_not_moved_by_a_few_outliers():
    d = random_map((50, 50))
    d[0, :3] = 1e6
    assert value_range(torch.from_numpy(d), picture("percentile"))[1] < 1


def test_percentile_takes_more_than_two_to_the_24_values_in_whatever_order_they_are():
    # torch.quantile refuses so many, and torch.kthvalue takes the square of their number when they
    # fall: hence a process of its own, which run_python gives up on.
    done = run_python(
        """
import torch
from lotus_worker.planes import value_range
from lotus_worker.protocol import Picture
count = 4097 * 4097
falling = torch.arange(count - 1, -1, -1, dtype=torch.float64).div(count - 1).float()
low, high = value_range(falling.view(4097, 4097), Picture("percentile", invert=False))
print(count > 2**24, round(low, 6), round(high, 6))
"""
    )
    assert done.stdout.split() == [b"True", b"0.02", b"0.98"]


def test_percentile_of_one_value_is_that_value():
    assert value_range(torch.tensor([[0.4]]), picture("percentile"))[0] == pytest.approx(0.4)


def test_planes_are_written_row_by_row_and_little_endian(tmp_path):
    # A transposed view: its memory is column by column.
    depth = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]).T
    planes = Planes(float32=str(tmp_path / "f32"), uint8=str(tmp_path / "u8"))
    write_planes(depth, depth.to(torch.uint8), planes)
    assert (tmp_path / "f32").read_bytes() == np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes()
    assert (tmp_path / "u8").read_bytes() == bytes([1, 2, 3, 4, 5, 6])


def test_only_planes_that_have_a_name_are_written(tmp_path):
    depth = torch.rand(2, 3)
    write_planes(depth, None, Planes(float32=str(tmp_path / "f32"), uint8=None))
    assert [file.name for file in tmp_path.iterdir()] == ["f32"]
    write_planes(depth, None, Planes(float32=None, uint8=None))
    assert [file.name for file in tmp_path.iterdir()] == ["f32"]


def test_a_plane_that_cannot_be_written_is_an_os_error(tmp_path):
    planes = Planes(float32=str(tmp_path / "no" / "such" / "folder"), uint8=None)
    with pytest.raises(OSError, match="folder"):
        write_planes(torch.rand(2, 3), None, planes)
