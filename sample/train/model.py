"""The sample model: the architecture of the released Lotus-D models at a fraction of their width.

An AutoencoderKL, a UNet with Lotus' task embedding, CLIP's text encoder with a tokenizer that
knows the empty prompt. What differs from theirs: the widths, the 8 channels of the latent, and
that only the deepest level of the UNet attends.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SAMPLE = Path(__file__).resolve().parent.parent

TEXT_WIDTH = 32
LATENT_CHANNELS = 8
TIMESTEP = 999

#: The variance of the posterior at the start, as a logarithm: a latent that is mostly noise
#: teaches nothing.
FIRST_LOG_VARIANCE = -6.0


def make_vae() -> AutoencoderKL:
    network: Any = AutoencoderKL  # its annotations say tuples of one
    return network(
        block_out_channels=(8, 16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        # Few: a group of one channel would take the mean out of each, and with it how far all is.
        norm_num_groups=2,
        sample_size=768,
    )


def make_unet() -> UNet2DConditionModel:
    network: Any = UNet2DConditionModel  # its annotations say tuples of one
    return network(
        sample_size=96,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        # diffusers' name for the number of heads in SD 2.1's configuration
        attention_head_dim=(4, 4, 8),
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
        class_embed_type="projection",
        projection_class_embeddings_input_dim=4,
    )


def make_text_encoder() -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=4,
            hidden_size=TEXT_WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )


def make_tokenizer() -> CLIPTokenizer:
    """A tokenizer that knows the empty prompt, the only one there is."""
    vocabulary = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}
    with tempfile.TemporaryDirectory() as folder:
        vocab, merges = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        vocab.write_text(json.dumps(vocabulary))
        merges.write_text("#version: 0.2\n")
        return CLIPTokenizer(str(vocab), str(merges), model_max_length=77)


def make_pipeline(seed: int) -> Any:
    """A pipeline with first weights from a seed."""
    sys.path.insert(0, str(SAMPLE / "upstream"))
    from pipeline import LotusDPipeline  # pyright: ignore[reportMissingImports]

    torch.manual_seed(seed)
    pipeline = LotusDPipeline(
        vae=make_vae(),
        text_encoder=make_text_encoder(),
        tokenizer=make_tokenizer(),
        unet=make_unet(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    _scale_first_weights(pipeline.vae)
    return pipeline


@torch.no_grad()
def _scale_first_weights(vae: Any) -> None:
    """Give the UNet latents of about unit size, as SD's own training did."""
    factor = vae.config.scaling_factor
    vae.quant_conv.weight[:LATENT_CHANNELS] /= factor
    vae.quant_conv.weight[LATENT_CHANNELS:] *= 0.1
    vae.quant_conv.bias[LATENT_CHANNELS:] = FIRST_LOG_VARIANCE
    vae.post_quant_conv.weight *= factor


def parts(pipeline: Any) -> tuple[Any, Any, Any]:
    """The networks that have weights."""
    return pipeline.vae, pipeline.unet, pipeline.text_encoder


def trained_weights(pipeline: Any) -> list[torch.nn.Parameter]:
    """Those that learn, in the order that a state has them: the text encoder's stay as they are."""
    return [weight for part in (pipeline.vae, pipeline.unet) for weight in part.parameters()]


def predict(pipeline: Any, rgb: torch.Tensor, prompt_embeds: torch.Tensor) -> torch.Tensor:
    """What LotusDPipeline computes, with gradients and before it clamps.

    Args:
        rgb: B x 3 x H x W in [-1, 1].
        prompt_embeds: 1 x tokens x channels.

    Returns:
        B x 3 x H x W; the map, once its values are clamped to [0, 1].
    """
    vae, unet = pipeline.vae, pipeline.unet
    factor = vae.config.scaling_factor
    count = len(rgb)
    latents = vae.encode(rgb).latent_dist.sample() * factor
    predicted = unet(
        latents,
        torch.tensor(TIMESTEP, device=rgb.device),
        encoder_hidden_states=prompt_embeds.expand(count, -1, -1),
        class_labels=task_embedding(rgb).expand(count, -1),
        return_dict=False,
    )[0]
    return vae.decode(predicted / factor, return_dict=False)[0] / 2 + 0.5


def task_embedding(like: torch.Tensor) -> torch.Tensor:
    """Lotus' switch for dense prediction, 1 x 4."""
    task = torch.tensor([[1.0, 0.0]])
    return torch.cat([torch.sin(task), torch.cos(task)], dim=-1).to(like)
