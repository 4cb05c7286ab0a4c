"""What the model is trained to make small."""

import torch

#: Added to the disparity where errors are divided by it: what is measured is relative.
FLOOR = 0.2
#: Errors below it count by their square: what is almost right is made right last.
ROUND = 0.05
#: How much slopes count. Much of it, and no edge is drawn before it is certain: maps stay blurred.
SLOPES = 0.25
#: Slopes are taken over these many pixels.
STEPS = (1, 2, 4, 8)


def loss(predicted: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The relative error of a disparity, and that of its slopes.

    Args:
        predicted: B x 3 x H x W, not clamped.
        wanted: B x 1 x H x W in [0, 1].
    """
    weight = 1 / (wanted + FLOOR)
    error = (predicted - wanted) * weight
    value = ((error**2 + ROUND**2).sqrt() - ROUND).mean()
    return value + SLOPES * _slopes(predicted - wanted, weight)


def first_loss(predicted: torch.Tensor, rgb: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """What is made small first: the error of the disparity, of the picture's green, and of a slope.

    A network this deep learns what is low and what is high long before a detail of the picture
    gets through it. What each pixel shows, its colour and which way it faces, opens the way.

    Args:
        predicted: B x 3 x H x W: disparity, green, and how much the surface faces up.
        rgb: B x 3 x H x W in [0, 1].
        planes: B x 2 x H x W in [0, 1]: disparity, and how much the surface faces up.
    """
    wanted = torch.stack([planes[:, 0], rgb[:, 1], planes[:, 1]], dim=1)
    return 3 * (predicted - wanted).abs().mean()


def _slopes(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    total = error.new_zeros(())
    for step in STEPS:
        across = (error[..., :, step:] - error[..., :, :-step]) * weight[..., :, step:]
        down = (error[..., step:, :] - error[..., :-step, :]) * weight[..., step:, :]
        total = total + across.abs().mean() + down.abs().mean()
    return total / len(STEPS)
