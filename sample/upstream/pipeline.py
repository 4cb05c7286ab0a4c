"""A stand-in for upstream's `pipeline.py`, so that everything runs without upstream's repository.

It was written for this project and has the same call as EnVision-Research/Lotus' LotusDPipeline and
LotusGPipeline: the same parameters, shapes and numbers (the script in `test/parity` runs with
either). The worker loads it as it loads the real one and cannot tell them apart.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.torch_utils import randn_tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

INTERPOLATION = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST_EXACT,
}


@dataclass
class LotusOutput:
    """What a call returns: B x H x W x 3 with `output_type` "np", B x 3 x H x W with "pt"."""

    images: Any


class LotusDPipeline(DiffusionPipeline):
    """One step from an image to a dense map, in [0, 1]: regression."""

    default_processing_resolution = 768
    model_cpu_offload_seq = "text_encoder->unet->vae"
    _optional_components: ClassVar = ["safety_checker", "feature_extractor", "image_encoder"]

    def __init__(
        self,
        vae: AutoencoderKL,
        text_encoder: Any,
        tokenizer: Any,
        unet: UNet2DConditionModel,
        scheduler: Any,
        safety_checker: Any = None,
        feature_extractor: Any = None,
        image_encoder: Any = None,
        requires_safety_checker: bool = True,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            safety_checker=safety_checker,
            feature_extractor=feature_extractor,
            image_encoder=image_encoder,
        )
        self.register_to_config(requires_safety_checker=requires_safety_checker)
        self.vae_scale_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.image_processor = VaeImageProcessor(vae_scale_factor=self.vae_scale_factor)

    def encode_prompt(
        self,
        prompt: str | None,
        device: torch.device,
        num_images_per_prompt: int,
        do_classifier_free_guidance: bool | None,
        prompt_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Embed a prompt, not padded: 1 x tokens x channels."""
        if prompt_embeds is None:
            tokens = self.tokenizer(prompt, padding="do_not_pad", return_tensors="pt")
            prompt_embeds = self.text_encoder(tokens.input_ids.to(device))[0]
        return prompt_embeds.to(device, self.unet.dtype), None

    def _latents(self, rgb: torch.Tensor, _generator: torch.Generator | None) -> torch.Tensor:
        """What the UNet sees of an image: its latent."""
        return self.vae.encode(rgb).latent_dist.sample() * self.vae.config.scaling_factor

    @torch.no_grad()
    def __call__(
        self,
        rgb_in: torch.Tensor,
        task_emb: torch.Tensor,
        prompt: str | None = None,
        timesteps: list[int] | None = None,
        generator: torch.Generator | None = None,
        prompt_embeds: torch.Tensor | None = None,
        output_type: str = "np",
        processing_res: int | None = None,
        match_input_res: bool = True,
        resample_method: str = "bilinear",
        **_ignored: Any,
    ) -> LotusOutput:
        """Predict; see the worker's `lotus.predict` for how it is called.

        Args:
            rgb_in: B x 3 x H x W in [-1, 1].
            task_emb: B x 4.
            processing_res: the long edge while processing; None: 768; 0: as the image is.
        """
        input_size = list(rgb_in.shape[-2:])
        long_edge = self.default_processing_resolution if processing_res is None else processing_res
        if long_edge > 0:
            factor = min(long_edge / input_size[1], long_edge / input_size[0])
            size = [int(edge * factor) for edge in input_size]
            rgb_in = resize(rgb_in, size, INTERPOLATION[resample_method], antialias=True)

        device = self._execution_device
        context, _ = self.encode_prompt(prompt, device, 1, None, prompt_embeds=prompt_embeds)
        timestep = torch.tensor(timesteps, device=device).long()[0]
        predicted = self.unet(
            self._latents(rgb_in.to(device), generator),
            timestep,
            encoder_hidden_states=context,
            class_labels=task_emb,
            return_dict=False,
        )[0]
        image = self.vae.decode(
            predicted / self.vae.config.scaling_factor, return_dict=False, generator=generator
        )[0]
        images = self.image_processor.postprocess(image, output_type=output_type)
        return LotusOutput(_resize_back(images, input_size) if match_input_res else images)


class LotusGPipeline(LotusDPipeline):
    """One step from an image and noise to a dense map, in [0, 1]: generation."""

    def _latents(self, rgb: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        height, width = (edge // self.vae_scale_factor for edge in rgb.shape[-2:])
        shape = (len(rgb), self.unet.config.in_channels // 2, height, width)
        noise = randn_tensor(shape, generator=generator, device=rgb.device, dtype=self.unet.dtype)
        noise = noise * self.scheduler.init_noise_sigma
        return torch.cat([super()._latents(rgb, generator), noise], dim=1)


def _resize_back(images: Any, size: list[int]) -> Any:
    nearest = InterpolationMode.NEAREST_EXACT
    if isinstance(images, np.ndarray):
        tensor = torch.tensor(images).permute(0, 3, 1, 2)
        return resize(tensor, size, nearest, antialias=True).permute(0, 2, 3, 1).numpy()
    return resize(images, size, nearest, antialias=True)
