"""The loop: one thread reads requests, the main thread loads and runs.

The reading thread answers what must not wait for a run (ping) and notes what must reach into one
(cancel); everything else goes to the main thread in the order it came.
"""

import logging
import os
import platform
import queue
import sys
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, BinaryIO

import lotus_worker
from lotus_worker.errors import ErrorCode, WorkerError
from lotus_worker.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    Cancel,
    Error,
    Hello,
    Load,
    Loading,
    Ping,
    Pong,
    Progress,
    ProtocolError,
    Reply,
    Request,
    Run,
    Shutdown,
    encode,
    parse_request,
)
from lotus_worker.stages import LOAD_STAGES, Stages

if TYPE_CHECKING:
    from lotus_worker.lotus import Lotus

logger = logging.getLogger(__name__)

#: What `hello` tells the version of.
PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "flash-attn")

#: A message may quote what it complains of; a reply must not grow too long by it.
MAX_MESSAGE_CHARS = 4000

#: Exit codes; docs/protocol.md has them all.
EXIT_PROTOCOL_ERROR = 2
EXIT_UNHEALTHY = 3


class Server:
    """Serves one conversation.

    Args:
        requests: the stream of requests, one a line.
        replies: where replies go.
    """

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies
        self._write_lock = threading.Lock()
        self._work: queue.SimpleQueue[Load | Run | Shutdown] = queue.SimpleQueue()
        self._runs: dict[str, threading.Event] = {}  # not over yet; set: cancelled
        self._lotus: Lotus | None = None

    def serve(self) -> int:
        """Answer until told to stop.

        Returns:
            The exit code: 0 after a shutdown, `EXIT_UNHEALTHY` after an error that says so. A
            broken conversation, or its end, exits at once from the reading thread.
        """
        self._send(Hello(protocol=PROTOCOL_VERSION, pid=os.getpid(), versions=_versions()))
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        while not isinstance(request := self._work.get(), Shutdown):
            if not self._answer(request):
                return EXIT_UNHEALTHY
        return 0

    def _answer(self, request: Load | Run) -> bool:
        """Load or run, and send the outcome; False when this process must not go on."""
        try:
            self._send(self._load(request) if isinstance(request, Load) else self._run(request))
            return True
        except WorkerError as error:
            self._send_error(request.id, error.code, str(error), healthy=error.healthy)
            return error.healthy
        except Exception as error:
            # Nothing is known of the state that is left behind, least of all on a GPU.
            logger.exception("cannot %s", request.type)
            message = f"{type(error).__name__}: {error}"
            self._send_error(request.id, "internal", message, healthy=False)
            return False

    def _load(self, request: Load) -> Reply:
        if self._lotus is not None:
            raise WorkerError("bad_request", "a model is loaded already; start another process")

        def on_stage(stage: str, fraction: float) -> None:
            self._send(Loading(request.id, stage, fraction))

        stages = Stages(LOAD_STAGES, on_stage)
        stages.begin("imports")
        # Here and not above: importing torch takes seconds, and `hello` goes out before.
        from lotus_worker.lotus import Lotus
        from lotus_worker.memory import is_out_of_memory

        try:
            self._lotus = Lotus(request, stages)
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            message = f"out of memory while loading {request.model}: {error}"
            raise WorkerError("out_of_memory", message, healthy=False) from error
        return self._lotus.ready

    def _run(self, request: Run) -> Reply:
        cancelled = self._runs.setdefault(request.id, threading.Event())

        def on_stage(stage: str, fraction: float) -> None:
            if cancelled.is_set():
                raise WorkerError("cancelled", f"cancelled before stage {stage}")
            self._send(Progress(request.id, stage, fraction))

        try:
            if self._lotus is None:
                raise WorkerError("bad_request", "no model is loaded")
            return self._lotus.run(request, on_stage)
        finally:
            self._runs.pop(request.id, None)

    def _read(self) -> None:
        """Read requests until the end of input; runs in a thread of its own."""
        # One byte more than the longest line and its newline, to tell too long from just fitting.
        while line := self._requests.readline(MAX_LINE_BYTES + 2):
            try:
                self._receive(_parse_line(line))
            except ProtocolError as error:
                self._send_error(None, "bad_request", str(error), healthy=False)
                self._exit(EXIT_PROTOCOL_ERROR)
            except Exception:  # a mistake of ours: without this thread the process would only hang
                logger.exception("cannot read requests any more")
                self._exit(EXIT_UNHEALTHY)
        self._exit(0)

    def _receive(self, request: Request) -> None:
        match request:
            case Ping():
                self._send(Pong(request.id))
            case Cancel():
                if cancelled := self._runs.get(request.id):
                    cancelled.set()
            case Run():
                self._runs[request.id] = threading.Event()
                self._work.put(request)
            case Load() | Shutdown():
                self._work.put(request)

    def _send_error(
        self, request_id: str | None, code: ErrorCode, message: str, *, healthy: bool
    ) -> None:
        # It may quote what UTF-8 cannot write.
        readable = message[:MAX_MESSAGE_CHARS].encode(errors="backslashreplace").decode()
        self._send(Error(request_id, code, readable, healthy))

    def _send(self, reply: Reply) -> None:
        line = encode(reply)
        try:
            with self._write_lock:
                self._replies.write(line)
                self._replies.flush()
        except BrokenPipeError:
            self._exit(0)

    def _exit(self, code: int) -> None:
        """Leave at once, also in the middle of a run: nobody is there to take its result."""
        sys.stderr.flush()
        os._exit(code)


def _parse_line(line: bytes) -> Request:
    message = line.removesuffix(b"\n")
    if len(message) > MAX_LINE_BYTES:
        raise ProtocolError(f"a line is at most {MAX_LINE_BYTES} bytes")
    if message == line:
        raise ProtocolError(f"input ended in the middle of a line: {line[:80]!r}")
    return parse_request(message)


def _versions() -> dict[str, str | None]:
    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    ours = {"python": platform.python_version(), "lotus_worker": lotus_worker.__version__}
    return ours | {package: installed(package) for package in PACKAGES}
