"""attention: flash-attn's place in the UNet, and everything that keeps it out."""

import re
import sys

import pytest
import torch
from diffusers.models.attention_processor import Attention as AttentionLayer
from diffusers.models.attention_processor import AttnProcessor2_0
from torch.nn.functional import scaled_dot_product_attention

from lotus_worker import attention
from lotus_worker.attention import (
    FlashAttnProcessor,
    _head_sizes,
    _unfit_head_size,
    choose_attention,
    disproof,
    use_flash,
)

CPU = torch.device("cpu")


def reference_kernel(q, k, v):
    """flash_attn_func by torch: batch x sequence x heads x head size in and out."""
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)


def kernel_of_another_layout(q, k, v):
    """Takes batch x heads x sequence x head size: the shapes fit, the numbers do not."""
    return scaled_dot_product_attention(q, k, v)


def kernel_without_scale(q, k, v):
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)


def kernel_of_nan(q, _k, _v):
    return torch.full_like(q, torch.nan)


def layers(unet):
    return [module for module in unet.modules() if isinstance(module, AttentionLayer)]


def states(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@torch.inference_mode()
def run_unet(unet):
    dtype = unet.dtype
    return unet(
        states(1, unet.config.in_channels, 24, 32, dtype=dtype),
        torch.tensor(999),
        encoder_hidden_states=states(1, 2, 32, dtype=dtype, seed=1),
        class_labels=states(1, 4, dtype=dtype, seed=2),
    ).sample


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_unet_gives_the_same_with_the_flash_processor_as_with_diffusers_own(unet, dtype):
    unet.to(dtype)
    expected = run_unet(unet)
    calls = []

    def kernel(q, k, v):
        calls.append((q.shape, k.shape))
        return reference_kernel(q, k, v)

    use_flash(unet, kernel)
    torch.testing.assert_close(run_unet(unet), expected, rtol=1e-5, atol=1e-6)
    assert len(calls) == len(layers(unet))
    assert all(q[-1] == 16 for q, _ in calls)
    # Self-attention at the deepest resolution, and cross-attention to two tokens.
    assert {k[1] for _, k in calls} == {6 * 8, 2}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("context", [None, 2, 77])
def test_every_layer_gives_the_same_with_the_flash_processor(unet, dtype, context):
    unet.to(dtype)
    for layer in layers(unet):
        if layer.is_cross_attention != (context is not None):
            continue
        hidden = states(2, 60, layer.query_dim, dtype=dtype)
        tokens = context and states(2, context, layer.cross_attention_dim, dtype=dtype, seed=1)
        with torch.inference_mode():
            expected = AttnProcessor2_0()(layer, hidden, tokens)
            got = FlashAttnProcessor(reference_kernel)(layer, hidden, tokens)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


def test_a_mask_is_refused_rather_than_ignored(unet):
    layer = layers(unet)[0]
    hidden = states(1, 6, layer.query_dim)
    with pytest.raises(ValueError, match="mask"):
        FlashAttnProcessor(reference_kernel)(
            layer, hidden, attention_mask=torch.zeros(1, 6, dtype=torch.bool)
        )


def test_a_right_kernel_is_not_disproved():
    assert disproof(reference_kernel, CPU, {8, 16, 64}) is None


@pytest.mark.parametrize("kernel", [kernel_of_another_layout, kernel_without_scale, kernel_of_nan])
def test_a_wrong_kernel_is_disproved_with_how_far_it_is_off(kernel):
    assert "differs from torch by" in str(disproof(kernel, CPU, {8}))


def test_a_kernel_that_is_wrong_at_one_head_size_is_disproved_at_that_one():
    def kernel(q, k, v):
        return (reference_kernel if q.shape[-1] != 64 else kernel_without_scale)(q, k, v)

    assert disproof(kernel, CPU, {8, 32}) is None
    assert str(disproof(kernel, CPU, {8, 64})).endswith("at head size 64")


@pytest.mark.parametrize("sizes", [set(), {8}, {64, 128}, {256}])
def test_head_sizes_that_flash_attn_takes(sizes):
    assert _unfit_head_size(sizes) is None


@pytest.mark.parametrize("size", [4, 12, 264, 512])
def test_head_sizes_that_flash_attn_does_not_take_are_named(size):
    assert str(_unfit_head_size({64, size})).endswith(f"the UNet has {size}")


def test_the_head_sizes_are_those_of_the_unets_layers(unet):
    assert _head_sizes(unet) == {16}  # 128 channels, 8 heads


def test_on_the_cpu_torch_attends_and_the_reason_is_cuda(unet):
    before = unet.attn_processors
    chosen = choose_attention(unet, CPU)
    assert (chosen.kernel, chosen.version) == ("sdpa", None)
    assert "CUDA" in str(chosen.reason)
    assert unet.attn_processors == before


@pytest.fixture
def install_flash_attn(tmp_path, monkeypatch):
    """Put a package called flash_attn on the path, with its dist-info, and let this device pass."""

    def install(code: str) -> None:
        package = tmp_path / "flash_attn"
        package.mkdir()
        (package / "__init__.py").write_text(code)
        info = tmp_path / "flash_attn-2.8.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.8.3\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(attention, "_not_applicable", lambda _unet, _device: None)

    yield install
    sys.modules.pop("flash_attn", None)


RIGHT_KERNEL = """
from torch.nn.functional import scaled_dot_product_attention

def flash_attn_func(q, k, v):
    q, k, v = (tensor.transpose(1, 2) for tensor in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)
"""


def test_an_installed_kernel_that_gives_torchs_numbers_is_put_into_every_layer(
    unet, install_flash_attn
):
    install_flash_attn(RIGHT_KERNEL)
    chosen = choose_attention(unet, CPU)
    assert (chosen.kernel, chosen.version, chosen.reason) == ("flash-attn", "2.8.3", None)
    processors = unet.attn_processors.values()
    assert len(processors) == len(layers(unet))
    assert all(isinstance(processor, FlashAttnProcessor) for processor in processors)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise ImportError('undefined symbol: _ZN3c10')", "ImportError: undefined symbol"),
        ("raise OSError('libcudart.so.12: cannot open')", "OSError: libcudart.so.12"),
        ("", "AttributeError: .*flash_attn_func"),
        ("def flash_attn_func(q, k, v): raise RuntimeError('no kernel image')", "no kernel image"),
        ("def flash_attn_func(q, k, v): return q * 2", "differs from torch by"),
        ("def flash_attn_func(q, k, v): return q[:, :5]", "RuntimeError: .*size"),
    ],
)
def test_an_installed_kernel_that_does_not_work_leaves_torchs_with_the_reason(
    unet, install_flash_attn, code, reason
):
    install_flash_attn(code)
    before = unet.attn_processors
    chosen = choose_attention(unet, CPU)
    assert (chosen.kernel, chosen.version) == ("sdpa", None)
    assert re.search(reason, str(chosen.reason))
    assert unet.attn_processors == before
