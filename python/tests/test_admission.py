"""admission: which shapes are run, by what they take and what there is."""

import logging
import re
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import DEFAULTS, changed, draw, run_on
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from lotus_worker import lotus as lotus_module
from lotus_worker.admission import (
    MAX_PROCESSING_RES,
    Admission,
    Footprint,
    footprint,
    fused_kernel_takes,
)
from lotus_worker.errors import WorkerError
from lotus_worker.protocol import Image

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

#: The released models' shape, which is Stable Diffusion 2.1's.
RELEASED = SimpleNamespace(
    vae=SimpleNamespace(config=SimpleNamespace(block_out_channels=(128, 256, 512, 512))),
    unet=SimpleNamespace(config=SimpleNamespace(block_out_channels=(320, 640, 1280, 1280))),
    vae_scale_factor=8,
)

GB = 10**9


def with_code(code):
    """For pytest.raises(check=...)."""
    return lambda error: error.code == code


def admission(available, pipeline=RELEASED, device=CPU):
    return Admission(pipeline, device, lambda: available)


def image(width, height):
    return Image("image.rgb", width, height)


def lack(available, width=4096, height=4096, processing_res=0, dtype=torch.float32):
    return admission(available).lack(
        image(width, height), replace(DEFAULTS, processing_res=processing_res), dtype
    )


# --- the estimate


def test_what_is_asked_of_normals_and_of_an_ensemble_is_reckoned():
    known = footprint(RELEASED, CPU, torch.float32)
    assert known is not None
    one = known.bytes_for(4096**2, 256, 256)
    assert known.bytes_for(4096**2, 256, 256, channels=3) > one + 30 * 4096**2
    kept = 15 * 3 * 4 * 1024**2
    alone = known.bytes_for(0, 1024, 1024, channels=3)
    assert known.bytes_for(0, 1024, 1024, channels=3, maps=16) > alone + kept


def test_what_the_released_shape_takes_on_the_cpu_is_what_was_measured_and_a_margin():
    """Resident memory of the decoder, bytes; see admission.DECODER_TENSORS."""
    known = footprint(RELEASED, CPU, torch.float32)
    assert known
    for edge, measured in [(512, 1119051776), (768, 2361573376), (1024, 4216541184)]:
        assert measured <= known.bytes_for(edge * edge, edge, edge) <= 1.35 * measured


def test_half_precision_takes_half_on_a_card_and_more_on_the_cpu(monkeypatch):
    monkeypatch.setattr("lotus_worker.admission.keeps_no_scores", lambda *_: True)

    def takes(device, dtype):
        known = footprint(RELEASED, device, dtype)
        assert known
        return known.bytes_for(1024 * 1024, 1024, 1024)

    assert takes(CUDA, torch.float16) < 0.6 * takes(CUDA, torch.float32)
    assert takes(CPU, torch.float16) > takes(CPU, torch.float32)


def test_scores_that_are_kept_grow_with_the_square_of_the_pixels(monkeypatch):
    monkeypatch.setattr("lotus_worker.admission.keeps_no_scores", lambda *_: False)
    known = footprint(RELEASED, CUDA, torch.float16)
    assert known
    latents = (4096 // 8) ** 2
    assert known.bytes_for(4096**2, 4096, 4096) > 2 * 2 * latents**2  # two copies, two bytes


def test_torch_can_be_asked_for_its_kernels_and_has_none_of_cudas_for_the_cpu():
    assert fused_kernel_takes(torch.empty(1, 1, 64, 512, dtype=torch.float16)) is False


class LivePeak(TorchDispatchMode):
    """The largest sum of what tensors held at the same time, bytes."""

    def __init__(self):
        super().__init__()
        self.held, self.now, self.peak = set(), 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_iter(result):
            if isinstance(tensor, torch.Tensor) and id(storage := tensor.untyped_storage()) not in (
                self.held
            ):
                size = storage.nbytes()
                self.held.add(id(storage))
                self.now += size
                weakref.finalize(storage, self._let_go, id(storage), size)
        self.peak = max(self.peak, self.now)
        return result

    def _let_go(self, key, size):
        self.held.discard(key)
        self.now -= size


@pytest.mark.parametrize("widths", [(128, 256, 512, 512), (32, 64, 96, 128), (8, 16, 16, 16)])
def test_the_estimate_for_a_card_covers_what_torch_has_allocated_at_once(monkeypatch, widths):
    # As the kernels do that keep no scores.
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda query, *_, **__: torch.empty_like(query),
    )
    monkeypatch.setattr("lotus_worker.admission.keeps_no_scores", lambda *_: True)
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=widths,
            down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
            up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType]
            layers_per_block=2,
            norm_num_groups=8,
        ).half()
    pipeline = SimpleNamespace(vae=vae, unet=RELEASED.unet)
    known = footprint(pipeline, CUDA, torch.float16)
    assert known

    def empty(*shape):
        return torch.empty(shape, dtype=torch.float16, device="meta")

    for run in (
        lambda: vae.encoder(empty(1, 3, 768, 768)),
        lambda: vae.decoder(empty(1, 4, 96, 96)),
    ):
        with torch.no_grad(), LivePeak() as live:
            run()
        assert live.peak < known.bytes_for(0, 768, 768)
        if widths == RELEASED.vae.config.block_out_channels:
            assert live.peak > known.bytes_for(0, 768, 768) / 3


# --- the border


def test_a_run_takes_what_there_is_to_the_byte_and_no_byte_more():
    known = footprint(RELEASED, CPU, torch.float32)
    assert known
    needed = known.bytes_for(640 * 480, 640, 480)
    assert lack(needed, 640, 480) is None
    assert lack(needed - 1, 640, 480)


@pytest.mark.parametrize("size", [(4096, 4096), (8192, 2048), (1000, 3000), (640, 480)])
@pytest.mark.parametrize("available", [2 * GB, 8 * GB, 24 * GB])
def test_the_processing_res_that_is_named_fits_and_the_next_multiple_does_not(size, available):
    message = lack(available, *size)
    if message is None:
        return
    (found,) = re.findall(r"processing_res of at most (\d+)$", message)
    largest = int(found)
    assert largest % 8 == 0
    assert lack(available, *size, processing_res=largest) is None
    if largest < MAX_PROCESSING_RES:
        assert lack(available, *size, processing_res=largest + 8)


def test_the_refusal_says_how_much_it_takes_and_how_much_there_is():
    message = lack(8 * GB)
    assert message
    assert re.fullmatch(
        r"4096x4096 processed at 4096x4096 takes about 8\d\.\d GB of memory, and 8\.0 GB are free:"
        r" use a processing_res of at most \d+",
        message,
    )


def test_the_cards_memory_is_called_so(monkeypatch):
    monkeypatch.setattr("lotus_worker.admission.keeps_no_scores", lambda *_: True)
    message = admission(8 * GB, device=CUDA).lack(
        image(4096, 4096), replace(DEFAULTS, processing_res=0), torch.float16
    )
    assert message
    assert "of GPU memory" in message


def test_an_image_that_fits_at_no_size_is_told_so():
    message = lack(100 * 2**20)
    assert message
    assert message.endswith("no processing_res fits this image; use a smaller one")


def test_no_processing_res_is_named_at_which_the_image_would_be_too_thin():
    message = lack(590 * 10**6, 60000, 270)
    assert message
    assert "no processing_res fits" in message


def test_what_is_needed_beside_the_run_counts():
    known = footprint(RELEASED, CPU, torch.float32)
    assert known
    needed = known.bytes_for(64 * 64, 64, 64)
    assert admission(needed).lack(
        image(64, 64), replace(DEFAULTS, processing_res=0), torch.float32, 1
    )


def test_nobody_is_refused_where_the_memory_is_not_known():
    assert lack(None) is None


def test_nobody_is_refused_for_an_unknown_architecture_and_the_log_says_so_once(caplog):
    unknown = SimpleNamespace(
        vae=SimpleNamespace(config=SimpleNamespace()), unet=RELEASED.unet, vae_scale_factor=8
    )
    one = admission(0, unknown)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            one.admit(image(4096, 4096), replace(DEFAULTS, processing_res=0), torch.float32)
    assert [record.message for record in caplog.records] == [
        "what a run takes of memory is not known for this model on cpu in torch.float32:"
        " every size is tried"
    ]


def test_a_footprint_is_of_plain_numbers():
    known = footprint(RELEASED, CPU, torch.float32)
    assert known == Footprint(4 * 256 + 80, 4, 0, 8)


# --- a run


def test_a_run_that_does_not_fit_is_refused_before_anything_is_done(lotus, tmp_path, monkeypatch):
    monkeypatch.setattr(lotus_module, "available_memory", lambda *_: 100 * 2**20)
    with pytest.raises(
        WorkerError, match="640x480", check=with_code("shape_not_admitted")
    ) as error:
        run_on(lotus, tmp_path, draw(640, 480), processing_res=0)
    assert error.value.healthy
    (largest,) = re.findall(r"at most (\d+)$", str(error.value))
    answer = run_on(lotus, tmp_path, draw(640, 480), processing_res=int(largest))
    assert answer.depth.shape == (480, 640)


def test_the_weights_that_a_run_reads_are_not_taken_for_free_memory(lotus, monkeypatch):
    seen = []

    def look(_device, weights):
        seen.extend(weights)
        return 2**40

    monkeypatch.setattr(lotus_module, "available_memory", look)
    lotus._admission.admit(image(64, 64), DEFAULTS, torch.float32)
    pipeline = lotus._loaded.pipeline
    wanted = [*pipeline.unet.parameters(), *pipeline.vae.parameters()]
    assert [id(weight) for weight in seen] == [id(weight) for weight in wanted]


def test_a_map_that_overflows_is_no_answer_where_float32_does_not_fit(
    half_lotus, tmp_path, monkeypatch
):
    known = footprint(half_lotus._loaded.pipeline, CPU, torch.float16)
    assert known
    rooms = iter([known.bytes_for(48 * 32, 48, 32), 70 * 2**20])
    monkeypatch.setattr(lotus_module, "available_memory", lambda *_: next(rooms))
    conv = half_lotus._loaded.pipeline.vae.decoder.conv_out
    with (
        changed(conv, bias=conv.bias.detach() * torch.inf),
        pytest.raises(WorkerError, match="float32: 48x32", check=with_code("non_finite_map")),
    ):
        run_on(half_lotus, tmp_path, draw(48, 32), processing_res=0)
    assert half_lotus._loaded.pipeline.unet.dtype == torch.float16
