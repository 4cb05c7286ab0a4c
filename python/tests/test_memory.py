"""memory: which errors mean that it ran out."""

import errno

import pytest
import torch

from lotus_worker.memory import is_out_of_memory


def test_torchs_own_error_on_the_cpu_is_known_as_out_of_memory():
    with pytest.raises(RuntimeError, check=is_out_of_memory):
        torch.empty(2**50)


def test_pythons_own_error_is_known_as_out_of_memory():
    with pytest.raises(MemoryError, check=is_out_of_memory):
        bytearray(2**62)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.ENOMEM, "no memory")]
)
def test_the_cards_and_the_systems_errors_are_known_as_out_of_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)
