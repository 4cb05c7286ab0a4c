"""sample: the model learns, what it has learnt is measured, and the measure is right."""

import numpy as np
import pytest
import torch
from conftest import CHECKPOINT, UPSTREAM

from evaluate.__main__ import held_out, load_model
from evaluate.baselines import darkness, gradient
from evaluate.metrics import mean, score
from train import __main__ as train
from train.losses import loss

#: As small as it gets, and with both losses.
TINY = ("--areas", "768", "--batch", "2", "--workers", "0", "--first-steps", "2")


def learn(folder, steps, *flags):
    """Train; the state that it leaves."""
    train.main(["--output", str(folder), "--steps", str(steps), *TINY, *flags])
    return torch.load(folder / "state.pt", weights_only=True)


def test_a_training_that_was_interrupted_goes_on_as_if_nothing_had_been(tmp_path):
    whole = learn(tmp_path / "whole", 4)
    learn(tmp_path / "parts", 4, "--until", "2")
    gone_on = learn(tmp_path / "parts", 4)
    assert gone_on["step"] == whole["step"] == 4
    for kind in ("weights", "mean"):
        for one, other in zip(whole[kind], gone_on[kind], strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_training_that_begins_with_the_weights_of_another_goes_over_the_steps_behind_it(tmp_path):
    first = learn(tmp_path / "first", 3)
    start = str(tmp_path / "first" / "state.pt")
    second = learn(tmp_path / "second", 5, "--start", start, "--rate", "0")
    assert (second["step"], second["first"]) == (5, 3)
    for kept, weight in zip(first["mean"], second["weights"], strict=True):
        torch.testing.assert_close(weight, kept, rtol=0, atol=0)
    with pytest.raises(SystemExit):
        learn(tmp_path / "third", 3, "--start", start)


def test_steps_change_every_weight(tmp_path):
    before, after = learn(tmp_path, 1), learn(tmp_path, 3)
    pairs = zip(before["weights"], after["weights"], strict=True)
    assert [i for i, (one, other) in enumerate(pairs) if torch.equal(one, other)] == []


def test_the_loss_is_nothing_for_the_truth_and_grows_with_distance_and_blur():
    truth = torch.rand(1, 1, 32, 32, generator=torch.manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(truth, 5, 1, 2)
    assert loss(truth.expand(-1, 3, -1, -1), truth).item() == 0
    near, far = (loss(truth + by, truth).item() for by in (0.05, 0.1))
    assert 0 < near < far
    assert loss(blurred, truth).item() > loss(truth + (blurred - truth).abs().mean(), truth).item()


def test_a_map_is_right_up_to_scale_and_shift():
    truth = np.linspace(0, 1, 200).reshape(10, 20)
    assert score(truth * 3 - 7, truth).abs_rel == pytest.approx(0, abs=1e-9)
    assert score(-truth, truth).delta1 == 1  # an affine fit turns it around, too


def test_a_score_is_by_hand_what_it_says():
    truth, predicted = np.array([[0.5, 0.5, 1.0, 1.0]]), np.array([[0.0, 1.0, 2.0, 1.0]])
    # Least squares by hand: slope 0.25, shift 0.5, hence 0.5, 0.75, 1.0, 0.75.
    result = score(predicted, truth)
    assert result.abs_rel == pytest.approx((0 + 0.5 + 0 + 0.25) / 4)
    assert result.delta1 == 0.5


def test_the_sky_and_what_is_far_do_not_count():
    truth = np.array([[0.0, 0.049, 0.2, 0.4, 0.8]])
    predicted = np.array([[9.0, 9.0, 0.2, 0.4, 0.8]])
    assert score(predicted, truth).abs_rel == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="no disparity"):
        score(predicted, truth * 0)


def test_the_model_knows_more_than_what_is_lower_is_nearer():
    model = load_model(CHECKPOINT, UPSTREAM, 160)
    views = list(held_out(24))
    ours, lower, darker = (
        mean([score(predict(view.rgb), view.disparity) for view in views])
        for predict in (model, gradient, darkness)
    )
    assert ours.abs_rel < 0.2
    assert ours.delta1 > 0.7
    assert min(lower.abs_rel, darker.abs_rel) > 0.3
    assert max(lower.delta1, darker.delta1) < 0.6
