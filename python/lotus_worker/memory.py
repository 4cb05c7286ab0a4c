"""What running out of memory looks like."""

import errno

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory, the card's or the machine's, ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch's CPU allocator has no exception of its own.
    return "DefaultCPUAllocator" in str(error)
