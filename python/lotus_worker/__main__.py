"""``python -m lotus_worker``: take the protocol's descriptors, then serve until told to stop."""

import os

from lotus_worker.stdio import die_with_parent, log_to_stderr, take_stdio


def main() -> int:
    # First of all: whatever prints during an import must find standard output already turned away.
    requests, replies = take_stdio()
    die_with_parent()
    log_to_stderr()

    from lotus_worker.server import Server

    return Server(requests, replies).serve()


if __name__ == "__main__":
    # Without the interpreter's own end: the reading thread holds its stream's lock, over which that
    # end may stumble, and the operating system takes everything back anyway.
    os._exit(main())
