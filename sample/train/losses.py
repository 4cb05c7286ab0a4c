"""What the model is trained to make small."""

import torch

#: Added to the disparity where errors are divided by it: what is measured is relative.
FLOOR = 0.1
#: Edges, at steps of these many pixels.
STEPS = (1, 2, 4, 8)


def loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The relative error of a disparity, and that of its slopes.

    Args:
        predicted: B x 3 x H x W, not clamped.
        wanted: B x 1 x H x W in [0, 1].
    """
    weight = 1 / (wanted + FLOOR)
    value = ((predicted - wanted).abs() * weight).mean()
    return value + 2 * _slopes(predicted - wanted, weight)


def _slopes(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    total = error.new_zeros(())
    for step in STEPS:
        across = (error[..., :, step:] - error[..., :, :-step]) * weight[..., :, step:]
        down = (error[..., step:, :] - error[..., :-step, :]) * weight[..., step:, :]
        total = total + across.abs().mean() + down.abs().mean()
    return total / len(STEPS)
