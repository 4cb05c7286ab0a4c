"""stdio: the protocol's descriptors belong to the protocol alone."""

from conftest import run_python

TAKE = "from lotus_worker.stdio import take_stdio\nrequests, replies = take_stdio()\n"


def test_whatever_prints_goes_to_standard_error_and_never_into_the_protocol():
    done = run_python(
        TAKE
        + """
import ctypes, os
print("from print", flush=True)
os.write(1, b"from os.write\\n")
libc = ctypes.CDLL(None)
libc.puts(b"from C")
libc.fflush(None)
os.system("echo from a child")
replies.write(b"a reply\\n")
replies.flush()
"""
    )
    assert done.stdout == b"a reply\n"
    assert done.stderr.splitlines() == [
        b"from print",
        b"from os.write",
        b"from C",
        b"from a child",
    ]


def test_standard_input_is_at_its_end_while_requests_still_come():
    done = run_python(
        TAKE
        + """
import os
at_zero = os.read(0, 100)
replies.write(repr((at_zero, requests.readline())).encode())
replies.flush()
""",
        input=b"a request\n",
    )
    assert done.stdout == repr((b"", b"a request\n")).encode()


def test_a_grandchild_does_not_inherit_the_protocols_descriptors():
    # A grandchild that did would keep the pipe to Node open after this process is gone.
    done = run_python(
        TAKE
        + """
import subprocess, sys
ask = '''
import os, sys
for fd in map(int, sys.argv[1:]):
    try:
        os.fstat(fd)
        print("open")
    except OSError:
        print("closed")
'''
mine = [str(requests.fileno()), str(replies.fileno())]
command = [sys.executable, "-c", ask, "2", *mine]
replies.write(subprocess.check_output(command, close_fds=False))
replies.flush()
"""
    )
    assert done.stdout.split() == [b"open", b"closed", b"closed"]


def test_log_records_and_warnings_are_lines_that_begin_with_their_level():
    done = run_python(
        """
import logging, warnings
from lotus_worker.stdio import log_to_stderr
log_to_stderr()
logging.getLogger("lotus_worker.loading").info("read %d files", 3)
logging.getLogger("diffusers").error("oh")
warnings.warn("old")
"""
    )
    lines = done.stderr.decode().splitlines()
    assert lines[:2] == ["INFO lotus_worker.loading: read 3 files", "ERROR diffusers: oh"]
    assert lines[2].startswith("WARNING py.warnings: ")
    assert "old" in lines[2]
    assert done.stdout == b""
