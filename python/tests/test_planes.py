"""planes: from a float map to pixels and files."""

from dataclasses import replace

import matplotlib
import numpy as np
import OpenEXR
import pytest
import torch
from conftest import DEFAULTS, NO_PLANES, run_python

from lotus_worker.ensemble import Ensemble
from lotus_worker.planes import (
    color_entries,
    make_planes,
    quantize,
    quantize_16,
    value_range,
    write_exr,
    write_planes,
)
from lotus_worker.protocol import Image, Normalize, Picture, Planes, Run


def random_map(shape, seed=0, spread=1.0, offset=0.0):
    values = np.random.default_rng(seed).random(shape, dtype=np.float32)
    return values * np.float32(spread) + np.float32(offset)


def picture(normalize: Normalize = "minmax", invert: bool = False) -> Picture:
    return Picture(normalize=normalize, invert=invert, reverse_color=False)


def asking_for(planes: Planes) -> Run:
    reversed_ = Picture("minmax", invert=False, reverse_color=True)
    return Run("run", Image("/nowhere", 1, 1), DEFAULTS, reversed_, planes)


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
picture = Picture("percentile", invert=False, reverse_color=False)
low, high = value_range(falling.view(4097, 4097), picture)
print(count > 2**24, round(low, 6), round(high, 6))
"""
    )
    assert done.stdout.split() == [b"True", b"0.02", b"0.98"]


def test_percentile_of_one_value_is_that_value():
    assert value_range(torch.tensor([[0.4]]), picture("percentile"))[0] == pytest.approx(0.4)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_16_bit_pixels_decode_to_the_map_within_half_a_step(spread, invert):
    d = random_map((333, 517), spread=spread, offset=0.2)
    low, high = value_range(torch.from_numpy(d), picture(invert=invert))
    pixels = quantize_16(torch.from_numpy(d), (low, high)).numpy()
    assert (pixels.min(), pixels.max(), pixels.dtype) == (0, 65535, np.uint16)
    decoded = low + (high - low) * (pixels.astype(np.float64) / 65535)
    assert np.abs(decoded - d).max() <= abs(high - low) / 65535 / 2 * (1 + 1e-9)


@pytest.mark.parametrize("reverse", [False, True])
def test_color_entries_are_those_that_matplotlib_chooses(reverse):
    d = random_map((333, 517))
    d[0, :4] = [0, 1, np.nextafter(np.float32(1), np.float32(0)), 0.5]
    table = matplotlib.colormaps["Spectral"]
    expected = table(1 - d if reverse else d, bytes=True)
    entries = color_entries(torch.from_numpy(d), (0.0, 1.0), reverse=reverse).numpy()
    np.testing.assert_array_equal(table(np.arange(256), bytes=True)[entries], expected)


def test_planes_are_written_row_by_row_and_little_endian(tmp_path):
    # A transposed view: its memory is column by column.
    depth = torch.tensor([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]).T
    write_planes({str(tmp_path / "f32"): depth, str(tmp_path / "u16"): depth.to(torch.uint16)})
    assert (tmp_path / "f32").read_bytes() == np.array([1, 2, 3, 4, 5, 6], "<f4").tobytes()
    assert (tmp_path / "u16").read_bytes() == np.array([1, 2, 3, 4, 5, 6], "<u2").tobytes()


def test_only_planes_that_have_a_name_are_made():
    between, wanted = (0.0, 1.0), replace(NO_PLANES, uint8="u8", color="color")
    planes = make_planes(Ensemble(torch.tensor([[0.0, 1.0]]), None), between, asking_for(wanted))
    assert {name: plane.tolist() for name, plane in planes.items()} == {
        "u8": [[0, 255]],
        "color": [[255, 0]],
    }
    turned = make_planes(Ensemble(torch.tensor([[0.0, 1.0]]), None), (1.0, 0.0), asking_for(wanted))
    assert {name: plane.tolist() for name, plane in turned.items()} == {
        "u8": [[255, 0]],
        "color": [[255, 0]],  # of the map, and not of the picture
    }
    assert make_planes(Ensemble(torch.rand(2, 3), None), between, asking_for(NO_PLANES)) == {}


def test_a_plane_that_cannot_be_written_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="folder"):
        write_planes({str(tmp_path / "no" / "such" / "folder"): torch.rand(2, 3)})


def test_an_exr_is_read_back_as_the_same_bits(tmp_path):
    d = random_map((33, 57))
    write_exr(torch.from_numpy(d), str(tmp_path / "map.exr"))
    channels = OpenEXR.File(str(tmp_path / "map.exr")).channels()
    assert list(channels) == ["Y"]
    np.testing.assert_array_equal(channels["Y"].pixels.view(np.uint32), d.view(np.uint32))


def test_an_exr_of_normals_has_them_in_red_green_and_blue(tmp_path):
    n = random_map((9, 11, 3))
    write_exr(torch.from_numpy(n), str(tmp_path / "map.exr"))
    channels = OpenEXR.File(str(tmp_path / "map.exr"), separate_channels=True).channels()
    for i, name in enumerate("RGB"):
        np.testing.assert_array_equal(channels[name].pixels, n[..., i])


@pytest.mark.parametrize("size", [(5, 7), (500, 700)])
def test_an_exr_that_is_not_written_whole_is_an_os_error(size):
    with pytest.raises(OSError, match="/dev/full"):
        write_exr(torch.rand(*size), "/dev/full")
