"""ensemble: what several maps make together."""

import numpy as np
import torch

from lotus_worker.ensemble import combine


def maps(count, seed=0):
    return [
        torch.from_numpy(m) for m in np.random.default_rng(seed).random((count, 3, 131, 7), "f4")
    ]


def test_a_map_alone_is_itself_and_has_no_uncertainty():
    (alone,) = maps(1)
    ensemble = combine([alone])
    assert ensemble.depth is alone
    assert ensemble.uncertainty is None


def test_several_make_their_median_and_the_median_distance_from_it():
    for count in (2, 3, 4, 5):
        together = maps(count)
        ensemble = combine(together)
        median = np.median(torch.stack(together).numpy(), axis=0)
        apart = np.median(np.abs(torch.stack(together).numpy() - median), axis=0)
        np.testing.assert_allclose(ensemble.depth.numpy(), median, rtol=1e-6)
        assert ensemble.uncertainty is not None
        np.testing.assert_allclose(ensemble.uncertainty.numpy(), apart, rtol=1e-5, atol=1e-7)


def test_one_that_is_far_off_moves_nothing():
    close = [torch.full((1, 2, 2), value) for value in (0.4, 0.5, 0.6)]
    assert combine([*close, torch.full((1, 2, 2), 9.0), torch.full((1, 2, 2), 0.5)]).depth.max() < 1
