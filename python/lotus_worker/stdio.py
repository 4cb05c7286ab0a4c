"""What happens to the process's descriptors before anything else may touch them."""

import ctypes
import logging
import os
import signal
import sys
from typing import BinaryIO

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Keep descriptors 0 and 1 for the protocol and leave harmless ones in their place.

    The originals are duplicated; then 0 is pointed at /dev/null, so that a library that reads
    standard input cannot eat a request, and 1 at standard error, so that one that prints (C code
    included) cannot put text into the protocol. The duplicates are not inherited by children.

    Returns:
        The stream to read requests from and the one to write replies to.
    """
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere end of input has to do.

    It covers the case in which the main thread is inside a long kernel and nobody is left to read
    the result.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def log_to_stderr() -> None:
    """Log as ``LEVEL logger: message``, one line a record: the form that Node reads levels from."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s"
    )
    logging.captureWarnings(True)
