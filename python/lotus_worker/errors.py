"""The errors that Node sees: a stable code, a message, whether the process is still good."""

from typing import Literal, get_args

ErrorCode = Literal[
    "bad_request",  # Node asked for something that the protocol does not allow
    "model_not_found",  # no checkpoint at that path, or the hub has none of that name
    "incompatible_model",  # a checkpoint, but not one upstream can run
    "incompatible_upstream",  # the checkout lacks pipeline.py, or its pipelines differ
    "shape_not_admitted",  # the image, scaled for processing, is too thin, or takes too much memory
    "out_of_memory",  # the run was given up and its memory freed; the next one may well work
    "non_finite_map",  # NaN or infinity in the map, in float32 too
    "cancelled",  # Node asked for it
    "internal",  # anything else; the log has the traceback
]
ERROR_CODES: frozenset[str] = frozenset(get_args(ErrorCode))


class WorkerError(Exception):
    """An error with a stable code, fit to be sent to Node.

    Args:
        code: one of `ErrorCode`.
        message: what was wrong, with the value, and what to do.
        healthy: whether this process can take the next run.
    """

    def __init__(self, code: ErrorCode, message: str, *, healthy: bool = True) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.healthy = healthy
