"""Which kernel runs the UNet's attention: flash-attn where it works, else torch's own.

diffusers uses torch's scaled-dot-product attention (SDPA) by itself. flash-attn takes its place
only after it was seen to give SDPA's numbers on this card, in this process; a wheel that was built
for another torch or another card fails here, at load, and not in somebody's job.
"""

import importlib
import logging
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from diffusers.models.attention_processor import Attention as AttentionLayer
from torch import nn

from lotus_worker.protocol import Attention

logger = logging.getLogger(__name__)

#: (query, key, value) -> output, each batch x sequence x heads x head size: flash_attn_func's call.
FlashKernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

#: What flash-attn 2's kernels take (its README): Ampere or newer, heads of up to 256 values, and
#: multiples of 8 without padding.
MIN_COMPUTE_CAPABILITY = (8, 0)
MAX_HEAD_SIZE = 256
HEAD_SIZE_MULTIPLE = 8

#: Largest difference to SDPA accepted at load, for values drawn from a unit normal. Two correct
#: float16 kernels differ by a few 2^-11; a wrong layout or mask differs by tenths.
PROOF_TOLERANCE = 1e-2


class FlashAttnProcessor:
    """The attention of a UNet's transformer blocks, self and cross, by a flash-attn kernel.

    Takes what diffusers' own processors take. Lotus' UNets have no mask and no attention outside
    the transformer blocks; a call that has a mask is refused rather than answered wrongly.

    Args:
        kernel: ``flash_attn.flash_attn_func``.
    """

    def __init__(self, kernel: FlashKernel) -> None:
        self._kernel = kernel

    def __call__(
        self,
        attn: Any,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        temb: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            attn: diffusers' Attention layer, which holds the projections.
            hidden_states: batch x sequence x channels.
            encoder_hidden_states: batch x tokens x channels for cross-attention.
            attention_mask: must be None.
            temb: unused by transformer blocks.

        Returns:
            batch x sequence x channels.
        """
        if attention_mask is not None:
            raise ValueError("flash-attn takes no attention mask")
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states

        def heads(projected: torch.Tensor) -> torch.Tensor:
            return projected.unflatten(-1, (attn.heads, -1))

        attended = self._kernel(
            heads(attn.to_q(hidden_states)), heads(attn.to_k(context)), heads(attn.to_v(context))
        )
        output_projection, dropout = attn.to_out
        return dropout(output_projection(attended.flatten(2)))


def choose_attention(unet: nn.Module, device: torch.device) -> Attention:
    """Put flash-attn into the UNet if it works here, and say what runs.

    Args:
        unet: a diffusers UNet2DConditionModel, on its device and in its type.
        device: where it runs.
    """
    reason = _not_applicable(unet, device)
    if reason is None:
        try:
            kernel = import_kernel()
            reason = disproof(kernel, device, _head_sizes(unet))
            if reason is None:
                return use_flash(unet, kernel)
        except Exception as error:  # a broken wheel raises what it likes: ImportError, OSError, ...
            logger.warning("flash-attn does not work here", exc_info=True)
            reason = f"flash-attn failed: {type(error).__name__}: {error}"
    logger.info("attention by torch's scaled_dot_product_attention: %s", reason)
    return Attention(kernel="sdpa", version=None, reason=reason)


def use_flash(unet: nn.Module, kernel: FlashKernel) -> Attention:
    """Make every attention layer of the UNet run on this kernel."""
    unet.set_attn_processor(FlashAttnProcessor(kernel))  # pyright: ignore[reportCallIssue]
    return Attention(kernel="flash-attn", version=_installed_version(), reason=None)


def import_kernel() -> FlashKernel:
    """Import flash-attn, which can fail in every way that loading a library can."""
    return importlib.import_module("flash_attn").flash_attn_func


def _not_applicable(unet: nn.Module, device: torch.device) -> str | None:
    """Why flash-attn cannot run here, by the cheapest questions first; None if it may."""
    if device.type != "cuda":
        return f"flash-attn needs CUDA; the device is {device.type}"
    if _installed_version() is None:
        return "flash-attn is not installed"
    if (capability := torch.cuda.get_device_capability(device)) < MIN_COMPUTE_CAPABILITY:
        return f"flash-attn needs compute capability 8.0; this card has {capability}"
    if (dtype := next(unet.parameters()).dtype) not in (torch.float16, torch.bfloat16):
        return f"flash-attn needs half precision; the UNet is {dtype}"
    return _unfit_head_size(_head_sizes(unet))


def _unfit_head_size(sizes: set[int]) -> str | None:
    for size in sorted(sizes):
        if size > MAX_HEAD_SIZE or size % HEAD_SIZE_MULTIPLE:
            return f"flash-attn takes heads of multiples of 8 up to 256; the UNet has {size}"
    return None


def disproof(kernel: FlashKernel, device: torch.device, head_sizes: set[int]) -> str | None:
    """Run the kernel against SDPA on random values.

    Args:
        kernel: ``flash_attn.flash_attn_func``.
        device: where to run it.
        head_sizes: of the attention layers that it is to serve.

    Returns:
        None when they agree, else by how much they do not.
    """
    generator = torch.Generator(device).manual_seed(0)
    for size in sorted(head_sizes):
        shape = (2, 4, 96, size)  # batch, heads, sequence, head size
        q, k, v = torch.randn((3, *shape), generator=generator, device=device).to(torch.float16)
        expected = nn.functional.scaled_dot_product_attention(q, k, v)
        got = kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2)
        difference = (got.float() - expected.float()).abs().max().item()
        if not difference <= PROOF_TOLERANCE:  # so that NaN fails too
            return f"flash-attn differs from torch by {difference:.3g} at head size {size}"
    return None


def _head_sizes(unet: nn.Module) -> set[int]:
    layers = (m for m in unet.modules() if isinstance(m, AttentionLayer))
    return {layer.inner_dim // layer.heads for layer in layers}


def _installed_version() -> str | None:
    try:
        return version("flash-attn")
    except PackageNotFoundError:
        return None
