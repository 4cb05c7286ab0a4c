"""Makes `sample/checkpoint`: a Lotus-D of 0.9 M parameters with random weights, from a fixed seed.

It has the architecture of the released ones (AutoencoderKL, a UNet with Lotus' task embedding,
CLIP's text encoder) at a fraction of the width, so that every line of the worker runs on it in a
blink. Its maps mean nothing.

    python sample/make_checkpoint.py [FOLDER]
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

SAMPLE = Path(__file__).resolve().parent
SEED = 20240926  # the day the Lotus paper appeared

TEXT_WIDTH = 32


def make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=768,
    )


def make_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=96,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        attention_head_dim=(
            4,
            8,
        ),  # diffusers' name for the number of heads in SD 2.1's configuration
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


def make_pipeline() -> Any:
    sys.path.insert(0, str(SAMPLE / "upstream"))
    from pipeline import LotusDPipeline

    torch.manual_seed(SEED)
    return LotusDPipeline(
        vae=make_vae(),
        text_encoder=make_text_encoder(),
        tokenizer=make_tokenizer(),
        unet=make_unet(),
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE / "checkpoint"
    pipeline = make_pipeline().to(torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
    parts = (pipeline.vae, pipeline.unet, pipeline.text_encoder)
    count = sum(p.numel() for part in parts for p in part.parameters())
    print(f"{folder}: {count / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
