"""Makes of a checkpoint one of Lotus-G's kind, so that there is one to test with.

Nobody has trained it: its UNet sees noise beside the image, and takes it for more of the image.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel


def make_generation(checkpoint: Path, folder: Path) -> Path:
    """Copy a checkpoint of Lotus-D's kind to a folder that is not there yet, and widen its UNet."""
    shutil.copytree(checkpoint, folder)
    network: Any = UNet2DConditionModel  # its annotations say tuples of one
    trained = network.from_pretrained(checkpoint / "unet", torch_dtype=torch.float32)
    channels = trained.config.in_channels
    unet = network.from_config(trained.config, in_channels=2 * channels)
    weights = trained.state_dict()
    seen = weights["conv_in.weight"]
    unseen = torch.randn(seen.shape, generator=torch.manual_seed(0)) * seen.std()
    unet.load_state_dict(weights | {"conv_in.weight": torch.cat([seen, unseen], dim=1)})
    unet.half().save_pretrained(folder / "unet")
    return folder
