"""lotus: one image in, one map out, with upstream's numbers."""

import errno
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import (
    DEFAULTS,
    MINMAX,
    NO_PLANES,
    changed,
    draw,
    load_request,
    load_stages,
    run_on,
    write_image,
)
from diffusers.models.attention_processor import AttnProcessor2_0
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from lotus_worker.admission import processing_size
from lotus_worker.attention import FlashAttnProcessor, use_flash
from lotus_worker.errors import WorkerError
from lotus_worker.lotus import Lotus
from lotus_worker.protocol import Image, Run
from lotus_worker.stages import LOAD_STAGES, RUN_STAGES

SMALL = draw(48, 32)

INVERTED = replace(MINMAX, invert=True)
PERCENTILE = replace(MINMAX, normalize="percentile")
AS_IT_IS = replace(MINMAX, normalize="none")


def with_code(code):
    """For pytest.raises(check=...)."""
    return lambda error: error.code == code


def upstream_map(
    pipeline, pixels, seed=0, timestep=999, dtype=torch.float32, normals=False, **arguments
):
    """What upstream's infer.py computes, H x W: the prompt as text, numpy out, mean in numpy.

    Of normals H x W x 3.
    """
    rgb = torch.tensor(pixels.astype(np.float32)).permute(2, 0, 1).unsqueeze(0) / 127.5 - 1.0
    task = torch.tensor([1, 0]).float().unsqueeze(0)
    torch.manual_seed(seed)
    output = pipeline(
        rgb_in=rgb.to(dtype),
        prompt="",
        num_inference_steps=1,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
        timesteps=[timestep],
        task_emb=torch.cat([torch.sin(task), torch.cos(task)], dim=-1).to(dtype),
        **arguments,
    )
    image = output.images[0]
    return image if normals else image.mean(axis=-1)


def assert_same_bits(got, expected):
    assert got.dtype == expected.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def test_no_gradient_is_prepared_in_a_run(lotus, tmp_path):
    seen = []
    unet = lotus._loaded.pipeline.unet
    hook = unet.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    try:
        run_on(lotus, tmp_path, SMALL)
    finally:
        hook.remove()
    assert seen == [True]


# --- upstream's numbers

SIZES = [(641, 427), (83, 131)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, {}),
        ({"processing_res": 256}, {"processing_res": 256}),
        (
            {"processing_res": 256, "output_processing_res": True},
            {"processing_res": 256, "match_input_res": False},
        ),
        ({"processing_res": 0}, {"processing_res": 0}),
        (
            {"processing_res": 0, "output_processing_res": True},
            {"processing_res": 0, "match_input_res": False},
        ),
        *(
            (
                {"processing_res": 256, "resample_method": method},
                {"processing_res": 256, "resample_method": method},
            )
            for method in ("bilinear", "bicubic", "nearest")
        ),
        (
            {"processing_res": 256, "seed": 2**53 - 1, "timestep": 500},
            {"processing_res": 256, "seed": 2**53 - 1, "timestep": 500},
        ),
    ],
    ids=lambda values: ",".join(f"{k}={v}" for k, v in values.items()) or "default",
)
def test_the_map_is_upstreams_bit_for_bit(lotus, pipeline, tmp_path, size, options, arguments):
    pixels = draw(*size)
    expected = upstream_map(pipeline, pixels, **arguments)
    assert_same_bits(run_on(lotus, tmp_path, pixels, **options).depth, expected)


def test_the_map_is_upstreams_bit_for_bit_in_float16_too(half_lotus, pipeline, tmp_path):
    half = type(pipeline)(**{n: c for n, c in pipeline.components.items() if c is not None})
    half.set_progress_bar_config(disable=True)
    try:
        half.to(torch.float16)
        expected = upstream_map(half, SMALL, dtype=torch.float16, processing_res=0)
    finally:
        half.to(torch.float32)  # its parts are the session's
    assert_same_bits(run_on(half_lotus, tmp_path, SMALL, processing_res=0).depth, expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", [0, 7])
def test_normals_are_upstreams_bit_for_bit_in_three_channels(pipeline, tmp_path, size, seed):
    normals = Lotus(load_request(prediction="normals"), load_stages())
    pixels, options = draw(*size), {"processing_res": 256, "seed": seed}
    answer = run_on(normals, tmp_path, pixels, AS_IT_IS, **options)
    expected = upstream_map(pipeline, pixels, normals=True, **options)
    assert answer.result.channels == 3
    assert_same_bits(answer.depth, expected)
    np.testing.assert_array_equal(answer.pixels, (expected * 255).astype(np.uint8))


@pytest.mark.parametrize("seed", [0, 7])
def test_what_a_generation_model_gives_is_upstreams_bit_for_bit(
    generation_checkpoint, tmp_path, seed
):
    ours = Lotus(load_request(model=generation_checkpoint), load_stages())
    theirs = type(ours._loaded.pipeline).from_pretrained(generation_checkpoint)
    theirs.set_progress_bar_config(disable=True)
    options = {"processing_res": 256, "seed": seed}
    for size in SIZES:
        pixels = draw(*size)
        answer = run_on(ours, tmp_path, pixels, **options)
        assert_same_bits(answer.depth, upstream_map(theirs, pixels, **options))


def test_a_generation_model_gives_another_map_for_another_seed(generation_checkpoint, tmp_path):
    ours = Lotus(load_request(model=generation_checkpoint), load_stages())
    first, again, other = (
        run_on(ours, tmp_path, SMALL, processing_res=0, seed=seed).depth for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.001


def test_an_ensemble_is_the_median_of_its_seeds_maps(generation_checkpoint, tmp_path):
    ours = Lotus(load_request(model=generation_checkpoint), load_stages())
    last = 2**53 - 1
    single = [run_on(ours, tmp_path, SMALL, processing_res=0, seed=s).depth for s in (last, 0, 1)]
    planes = replace(NO_PLANES, float32=str(tmp_path / "f32"), uncertainty=str(tmp_path / "unc"))
    image = write_image(tmp_path, SMALL)
    ours.run(request_for(image, planes, seed=last, ensemble_size=3), ignore)
    median = np.median(single, axis=0)
    assert_same_bits(np.fromfile(tmp_path / "f32", "<f4"), median.ravel())
    apart = np.median(np.abs(np.stack(single) - median), axis=0)
    assert_same_bits(np.fromfile(tmp_path / "unc", "<f4"), apart.ravel())
    assert apart.max() > 0


def test_an_image_of_one_pixel_has_a_map_of_one_pixel(lotus, pipeline, tmp_path):
    pixels = draw(1, 1)
    answer = run_on(lotus, tmp_path, pixels, processing_res=64)
    assert (answer.result.width, answer.result.height) == (1, 1)
    assert_same_bits(answer.depth, upstream_map(pipeline, pixels, processing_res=64))


@pytest.mark.parametrize(
    ("width", "height"), [(320, 240), (321, 213), (83, 131), (900, 113), (9, 13)]
)
@pytest.mark.parametrize("processing_res", [200, 101, 0])
def test_the_processing_size_is_the_one_that_upstream_encodes(
    pipeline, width, height, processing_res
):
    sizes = []
    hook = pipeline.vae.encoder.register_forward_pre_hook(
        lambda _module, args: sizes.append((args[0].shape[3], args[0].shape[2]))
    )
    try:
        upstream_map(pipeline, draw(width, height), processing_res=processing_res)
    finally:
        hook.remove()
    assert sizes == [processing_size(width, height, processing_res)]


def test_the_processing_size_is_768_along_the_long_edge_by_default():
    assert processing_size(640, 480, None) == (768, 576)
    assert processing_size(1, 4096, None) == (0, 768)


# --- seeds


def test_one_seed_gives_the_same_bytes_and_another_gives_others(lotus, tmp_path):
    def run(seed):
        return run_on(lotus, tmp_path, SMALL, processing_res=0, seed=seed).depth

    first, other, again = run(1), run(2), run(1)
    assert_same_bits(again, first)
    assert (first != other).any()


def test_what_ran_before_does_not_change_the_answer(lotus, tmp_path):
    before = run_on(lotus, tmp_path, SMALL, processing_res=0)
    run_on(lotus, tmp_path, draw(120, 40, seed=3), processing_res=128, seed=9, timestep=1)
    torch.rand(17)
    after = run_on(lotus, tmp_path, SMALL, processing_res=0)
    assert_same_bits(after.depth, before.depth)
    np.testing.assert_array_equal(after.pixels, before.pixels)


# --- sizes


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
def test_upsample_method_chooses_how_the_map_is_scaled_back(lotus, tmp_path, method):
    def run(**options):
        return run_on(lotus, tmp_path, draw(101, 67), processing_res=64, **options)

    computed = torch.from_numpy(run(output_processing_res=True).depth)[None, None]
    mode = InterpolationMode(method)
    expected = resize(computed, [67, 101], mode, antialias=True)[0, 0].numpy()
    smooth = run(upsample_method=method)
    assert_same_bits(smooth.depth, expected)
    assert (smooth.depth != run(upsample_method="nearest").depth).any()


@pytest.mark.parametrize(
    ("size", "processing_res", "expected"),
    [
        ((641, 427), 256, (256, 168)),  # 256 x 170, down to multiples of 8
        ((83, 131), 0, (80, 128)),
        ((50, 50), 64, (64, 64)),
    ],
)
def test_output_processing_res_gives_the_size_of_the_computation(
    lotus, tmp_path, size, processing_res, expected
):
    answer = run_on(
        lotus, tmp_path, draw(*size), processing_res=processing_res, output_processing_res=True
    )
    result = answer.result
    assert (result.width, result.height) == expected
    assert (result.processing_width, result.processing_height) == expected


def test_the_size_of_the_computation_is_told_also_when_the_map_is_scaled_back(lotus, tmp_path):
    result = run_on(lotus, tmp_path, draw(641, 427), processing_res=256).result
    assert (result.width, result.height) == (641, 427)
    assert (result.processing_width, result.processing_height) == (256, 168)


@pytest.mark.parametrize(
    ("size", "processing_res", "becomes"),
    [
        ((7, 64), 0, "7x64"),
        ((64, 7), 0, "64x7"),
        ((640, 19), 256, "256x7"),
        ((1, 4096), None, "0x768"),
        ((64, 64), 7, "7x7"),
    ],
)
def test_too_thin_a_shape_is_refused_with_its_numbers(
    lotus, tmp_path, size, processing_res, becomes
):
    message = f"{size[0]}x{size[1]} becomes {becomes} .* at least 8 pixels"
    with pytest.raises(WorkerError, match=message, check=with_code("shape_not_admitted")):
        run_on(lotus, tmp_path, draw(*size), processing_res=processing_res)


@pytest.mark.parametrize(
    ("size", "processing_res"),
    [((8, 8), 0), ((8, 64), 0), ((64, 15), 0), ((640, 20), 256), ((3, 3), 8)],
)
def test_a_shape_of_eight_pixels_along_an_edge_is_admitted(lotus, tmp_path, size, processing_res):
    answer = run_on(lotus, tmp_path, draw(*size), processing_res=processing_res)
    assert answer.depth.shape == (size[1], size[0])


# --- what the result tells


def test_min_and_max_are_those_of_the_map_whatever_the_picture(lotus, tmp_path):
    for picture in (INVERTED, PERCENTILE, AS_IT_IS):
        answer = run_on(lotus, tmp_path, SMALL, picture, processing_res=0)
        assert answer.result.min == answer.depth.min()
        assert answer.result.max == answer.depth.max()


def test_the_picture_is_of_the_map_and_its_range_is_told(lotus, tmp_path):
    answer = run_on(lotus, tmp_path, SMALL, INVERTED, processing_res=0)
    d = answer.depth
    assert answer.result.range == (d.max(), d.min())
    expected = ((d.max() - d) / (d.max() - d.min()) * 255).astype(np.uint8)
    np.testing.assert_array_equal(answer.pixels, expected)


def test_the_stages_begin_in_order_and_each_has_a_time(lotus, tmp_path):
    answer = run_on(lotus, tmp_path, SMALL, processing_res=0)
    assert [name for name, _ in answer.stages] == list(RUN_STAGES)
    fractions = [fraction for _, fraction in answer.stages]
    assert fractions == sorted(set(fractions))
    assert set(answer.result.timings_ms) == set(RUN_STAGES)
    assert all(ms >= 0 for ms in answer.result.timings_ms.values())


def test_loading_has_a_time_for_each_of_its_stages(lotus):
    assert list(lotus.ready.timings_ms) == list(LOAD_STAGES)


def test_an_ordinary_map_is_not_warned_about(lotus, tmp_path):
    assert run_on(lotus, tmp_path, SMALL, processing_res=0).result.warnings == []


def test_a_flat_map_is_black_and_warned_about(lotus, tmp_path):
    conv = lotus._loaded.pipeline.vae.decoder.conv_out
    zero = {"weight": torch.zeros_like(conv.weight), "bias": torch.zeros_like(conv.bias)}
    with changed(conv, **zero):
        answer = run_on(lotus, tmp_path, SMALL, processing_res=0)
    assert (answer.result.min, answer.result.max) == (0.5, 0.5)
    assert not answer.pixels.any()
    assert "flat" in "".join(answer.result.warnings)
    assert "every pixel is 0" in "".join(answer.result.warnings)


def test_a_flat_map_that_is_not_normalised_keeps_its_grey_and_is_not_called_black(lotus, tmp_path):
    conv = lotus._loaded.pipeline.vae.decoder.conv_out
    zero = {"weight": torch.zeros_like(conv.weight), "bias": torch.zeros_like(conv.bias)}
    with changed(conv, **zero):
        answer = run_on(lotus, tmp_path, SMALL, AS_IT_IS, processing_res=0)
    assert (answer.pixels == 127).all()
    assert "every pixel is 0" not in "".join(answer.result.warnings)


def test_a_map_whose_percentiles_are_one_value_is_black_and_warned_about(lotus, tmp_path):
    conv = lotus._loaded.pipeline.vae.decoder.conv_out
    # So bright that all but its darkest pixels are clamped to 1. (The decoder's values are halved.)
    dark = np.sort(run_on(lotus, tmp_path, SMALL, processing_res=0).depth, axis=None)
    bright = 2 - float(dark[0] + dark[dark.size // 100])
    with changed(conv, bias=conv.bias.detach() + bright):
        answer = run_on(lotus, tmp_path, SMALL, PERCENTILE, processing_res=0)
    assert answer.result.min < answer.result.max
    assert not answer.pixels.any()
    assert "normalize=minmax" in "".join(answer.result.warnings)


# --- float16 and its end


def test_float16_runs_on_the_cpu(half_lotus, tmp_path):
    answer = run_on(half_lotus, tmp_path, SMALL, processing_res=0)
    assert answer.result.dtype == "float16"
    assert np.isfinite(answer.depth).all()
    assert answer.result.warnings == []


@pytest.fixture
def overflowing(half_lotus):
    """The float16 model with a decoder that overflows in float16 and not in float32."""
    conv = half_lotus._loaded.pipeline.vae.decoder.conv_in
    with changed(conv, weight=conv.weight.detach() * 2**17):
        assert conv.weight.isfinite().all()
        yield half_lotus


def test_a_map_that_overflows_in_float16_is_computed_again_in_float32(overflowing, tmp_path):
    answer = run_on(overflowing, tmp_path, SMALL, processing_res=0)
    assert answer.result.dtype == "float32"
    assert np.isfinite(answer.depth).all()
    assert answer.result.min < answer.result.max
    assert "float32" in "".join(answer.result.warnings)
    assert set(answer.result.timings_ms) == set(RUN_STAGES)


def test_after_an_overflow_the_model_is_what_it_was_bit_for_bit(overflowing, tmp_path):
    pipeline = overflowing._loaded.pipeline
    kernels = pipeline.unet.attn_processors
    parts = {"unet": pipeline.unet, "vae": pipeline.vae}
    before = {
        f"{part}.{name}": tensor.clone()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    assert run_on(overflowing, tmp_path, SMALL, processing_res=0).result.dtype == "float32"
    after = {
        f"{part}.{name}": tensor
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    assert after.keys() == before.keys()
    for name, tensor in after.items():
        assert tensor.dtype == torch.float16, name
        assert torch.equal(tensor.view(torch.int16), before[name].view(torch.int16)), name
    assert pipeline.unet.attn_processors == kernels


def test_flash_attention_steps_aside_for_float32_and_comes_back(overflowing, tmp_path):
    dtypes, processors = set(), []

    def kernel(q, k, v):
        dtypes.add(q.dtype)
        q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)

    def note(unet, _args):
        processors.append({type(processor) for processor in unet.attn_processors.values()})

    unet = overflowing._loaded.pipeline.unet
    original = unet.attn_processors
    use_flash(unet, kernel)
    flash = unet.attn_processors
    hook = unet.register_forward_pre_hook(note)
    try:
        assert run_on(overflowing, tmp_path, SMALL, processing_res=0).result.dtype == "float32"
        assert unet.attn_processors == flash
    finally:
        hook.remove()
        unet.set_attn_processor(original)
    assert dtypes == {torch.float16}
    # In float32 torch's SDPA, not diffusers' attention without it, which takes far more memory.
    assert processors == [{FlashAttnProcessor}, {AttnProcessor2_0}]


def test_an_overflow_does_not_change_the_answers_after_it(half_lotus, tmp_path):
    before = run_on(half_lotus, tmp_path, SMALL, processing_res=0)
    conv = half_lotus._loaded.pipeline.vae.decoder.conv_in
    with changed(conv, weight=conv.weight.detach() * 2**17):
        assert run_on(half_lotus, tmp_path, SMALL, processing_res=0).result.dtype == "float32"
    after = run_on(half_lotus, tmp_path, SMALL, processing_res=0)
    assert after.result.dtype == "float16"
    assert_same_bits(after.depth, before.depth)


@pytest.mark.parametrize("model", ["lotus", "half_lotus"])
def test_weights_that_are_nan_are_an_error_and_no_map(request, model, tmp_path):
    damaged = request.getfixturevalue(model)
    conv = damaged._loaded.pipeline.unet.conv_out
    with (
        changed(conv, bias=torch.full_like(conv.bias, math.nan)),
        pytest.raises(WorkerError, match="NaN", check=with_code("non_finite_map")),
    ):
        run_on(damaged, tmp_path, SMALL, processing_res=0)
    assert not (tmp_path / "depth.f32").exists()


@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_an_infinity_that_upstreams_clamp_would_hide_is_noticed(
    lotus, pipeline, tmp_path, infinity
):
    bias = torch.tensor([0.0, infinity, 0.0])  # in one channel only
    with changed(pipeline.vae.decoder.conv_out, bias=bias):
        assert np.isfinite(upstream_map(pipeline, SMALL, processing_res=0)).all()
    with (
        changed(lotus._loaded.pipeline.vae.decoder.conv_out, bias=bias),
        pytest.raises(WorkerError, match="infinity", check=with_code("non_finite_map")),
    ):
        run_on(lotus, tmp_path, SMALL, processing_res=0)


# --- files, and what goes wrong


def request_for(image, planes=NO_PLANES, **options):
    return Run("run", image, replace(DEFAULTS, processing_res=0, **options), MINMAX, planes)


def ignore(_name, _fraction):
    """Take a stage's begin and do nothing."""


@pytest.mark.parametrize("missing", [1, -1, 3])
def test_a_file_of_another_size_is_refused_with_both_sizes(lotus, tmp_path, missing):
    path = tmp_path / "image.rgb"
    path.write_bytes(bytes(16 * 16 * 3 - missing))
    message = f"{path} has {768 - missing} bytes; 16x16 RGB is 768"
    with pytest.raises(WorkerError, match=message, check=with_code("bad_request")):
        lotus.run(request_for(Image(str(path), 16, 16)), ignore)


@pytest.mark.parametrize("content", [None, b""])
def test_a_file_that_is_missing_or_empty_is_refused_with_its_name(lotus, tmp_path, content):
    path = tmp_path / "image.rgb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkerError, match=str(path), check=with_code("bad_request")):
        lotus.run(request_for(Image(str(path), 16, 16)), ignore)


def test_a_plane_that_cannot_be_written_fails_the_run_and_leaves_the_process_good(lotus, tmp_path):
    planes = replace(NO_PLANES, float32=str(tmp_path / "gone" / "depth"))
    with pytest.raises(WorkerError, match="gone", check=with_code("internal")) as caught:
        lotus.run(request_for(write_image(tmp_path, SMALL), planes), ignore)
    assert caught.value.healthy


@pytest.mark.parametrize("stage", RUN_STAGES)
def test_a_run_can_be_given_up_before_any_stage_and_the_next_one_is_none_the_worse(
    lotus, tmp_path, stage
):
    def give_up(name, _fraction):
        if name == stage:
            raise WorkerError("cancelled", f"cancelled before stage {name}")

    before = run_on(lotus, tmp_path, SMALL, processing_res=0)
    with pytest.raises(WorkerError, match=stage, check=with_code("cancelled")):
        lotus.run(request_for(write_image(tmp_path, SMALL)), give_up)
    pipeline = lotus._loaded.pipeline
    networks = (pipeline.vae.encoder, pipeline.unet, pipeline.vae.decoder)
    assert not any(net._forward_hooks or net._forward_pre_hooks for net in networks)
    after = run_on(lotus, tmp_path, SMALL, processing_res=0)
    assert_same_bits(after.depth, before.depth)
    assert after.stages == before.stages


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),  # as the interpreter raises it: without a word
        MemoryError("Unable to allocate 1.00 TiB"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ],
    ids=repr,
)
def test_memory_that_runs_out_in_any_stage_is_out_of_memory_with_the_size(lotus, tmp_path, error):
    def run_out(name, _fraction):
        if name == "unet":
            raise error

    with pytest.raises(WorkerError, match="48x32", check=with_code("out_of_memory")) as caught:
        lotus.run(request_for(write_image(tmp_path, SMALL)), run_out)
    assert caught.value.healthy
    assert "processing_res" in str(caught.value)
