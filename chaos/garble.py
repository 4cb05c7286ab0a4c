"""Writes what is no message into another Python process's replies: ``garble.py PID``.

Node speaks to a child by socket pairs, which cannot be opened by way of /proc; pidfd_getfd(2) gives
a copy of the descriptor itself. It takes the right to trace that process.
"""

import ctypes
import os
import sys
from pathlib import Path

SYS_PIDFD_GETFD = 438  # <asm/unistd.h>, the same on every architecture

GARBAGE = b"\xff\x00 {this is no message\n"


def find_replies(pid: int) -> int:
    """Which descriptor of that process the replies go to.

    `take_stdio` duplicates 0, then 1, to the lowest free numbers, and points 1 where 2 points: of
    the sockets that are not standard error, requests come first and replies second.
    """
    folder = Path(f"/proc/{pid}/fd")
    links = {int(entry.name): str(entry.readlink()) for entry in folder.iterdir()}
    logs = links.get(2)
    own = sorted(fd for fd, to in links.items() if to.startswith("socket:") and to != logs)
    if len(own) != 2:
        sys.exit(f"cannot tell the replies of {pid}: its sockets are {own}")
    return own[1]


def copy_descriptor(pid: int, descriptor: int) -> int:
    """A descriptor of ours for what `descriptor` is in that process."""
    libc = ctypes.CDLL(None, use_errno=True)
    copy = libc.syscall(SYS_PIDFD_GETFD, os.pidfd_open(pid), descriptor, 0)
    if copy < 0:
        sys.exit(
            f"cannot get at descriptor {descriptor} of {pid}: {os.strerror(ctypes.get_errno())}"
        )
    return copy


if __name__ == "__main__":
    process = int(sys.argv[1])
    os.write(copy_descriptor(process, find_replies(process)), GARBAGE)
