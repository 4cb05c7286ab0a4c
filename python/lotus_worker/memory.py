"""What running out of memory looks like."""

import errno

import torch

SIGNS = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory, the card's or the machine's, ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch's CPU allocator and CUDA's libraries have no exceptions of their own.
    return any(sign in str(error) for sign in SIGNS)
