"""The conversation between Node and this process; its twin is ``src/worker/protocol.ts``.

Node is the parent and asks, this process answers: one JSON object a line (NDJSON, UTF-8), at most
1 MiB, requests on standard input and replies on standard output. Pixels never travel in JSON: Node
writes raw RGB to a file and names it, and names the files it wants planes written to.

    Node                                  Python
      |  <------------------------- hello    at once, before torch is imported
      |  load ----------------------------->
      |  <----------------------- loading    once a stage
      |  <------------------------- ready    or error
      |  run ------------------------------>
      |  <---------------------- progress    once a stage
      |  <------------------------ result    or error; after one with healthy=false we exit
      |  cancel --------------------------->  the run ends between two stages with error `cancelled`
      |  ping ----------------------------->
      |  <-------------------------- pong    at once, also during a run
      |  shutdown ------------------------->  what was asked for before is finished, then exit 0

``load``, ``run`` and ``ping`` carry an ``id`` that their replies repeat. A line that is no valid
message ends the process: the two sides no longer agree on what was said. End of input means that
Node is gone, and ends it too, in the middle of a run if need be.

Both sides refuse unknown types and unknown fields, and both test suites read the same examples,
good and bad, in ``test/fixtures/protocol``.
"""

import json
import math
import types
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from lotus_worker.errors import ErrorCode

PROTOCOL_VERSION = 2

#: A line longer than this is an error. Real ones are under a few KiB; the bound keeps a runaway
#: writer from growing the reader's memory.
MAX_LINE_BYTES = 1 << 20

#: As many as there are integers that JSON's numbers have in every language.
SEEDS = 2**53

#: The largest ensemble; more than this says nothing new.
MAX_ENSEMBLE = 16

ResampleMethod = Literal["bilinear", "bicubic", "nearest"]
Normalize = Literal["minmax", "percentile", "none"]
Prediction = Literal["disparity", "depth", "normals"]
Mode = Literal["regression", "generation"]


class ProtocolError(Exception):
    """A line that is no valid message. The conversation cannot go on after it."""


@dataclass(frozen=True)
class Image:
    """A file of raw 8-bit RGB, rows top to bottom: ``width * height * 3`` bytes."""

    path: str
    width: int
    height: int

    def __post_init__(self) -> None:
        _check(self.width >= 1 and self.height >= 1, "an image has at least one pixel")


@dataclass(frozen=True)
class Options:
    """How the map is computed. The names are the job's and upstream's own."""

    timestep: int
    processing_res: int | None  # None: upstream's default of 768; 0: native
    output_processing_res: bool
    resample_method: ResampleMethod
    upsample_method: ResampleMethod
    seed: int
    ensemble_size: int  # maps of as many seeds, of which the median is given

    def __post_init__(self) -> None:
        _check(0 <= self.timestep <= 999, "timestep is 0..999")
        _check(self.processing_res is None or self.processing_res >= 0, "processing_res is >= 0")
        _check(0 <= self.seed < SEEDS, "seed is 0..2^53-1")
        _check(1 <= self.ensemble_size <= MAX_ENSEMBLE, f"ensemble_size is 1..{MAX_ENSEMBLE}")


@dataclass(frozen=True)
class Picture:
    """How floats become pixels: which value is pixel 0, which is full, and whether to swap them."""

    normalize: Normalize
    invert: bool
    reverse_color: bool  # the colormap's last entry is pixel 0: upstream's word for it


@dataclass(frozen=True)
class Planes:
    """The files to write, or None.

    Rows top to bottom, ``width * height * channels`` values each, those of a pixel together.
    """

    float32: str | None  # the map as computed, little-endian
    uint8: str | None  # the picture
    uint16: str | None  # the picture, little-endian
    color: str | None  # of each pixel the entry of a colormap of 256, uint8
    exr: str | None  # the map as computed, in OpenEXR's own file format
    uncertainty: str | None  # how far the maps of an ensemble lie apart, as float32 is written


@dataclass(frozen=True)
class Load:
    """Load a model; once a process."""

    type: ClassVar[str] = "load"
    id: str
    upstream: str  # upstream's checkout, absolute
    model: str  # a checkpoint folder, absolute
    revision: str | None  # its commit on the hub; None for a folder of somebody's own
    prediction: Prediction  # what the weights give: normals keep the three channels
    device: Literal["auto", "cuda", "cpu"]
    dtype: Literal["auto", "float16", "float32"]  # auto: float16 on CUDA, float32 on the CPU


@dataclass(frozen=True)
class Run:
    """Turn one image into one map."""

    type: ClassVar[str] = "run"
    id: str
    image: Image
    options: Options
    picture: Picture
    planes: Planes

    def __post_init__(self) -> None:
        _check(
            self.planes.uncertainty is None or self.options.ensemble_size > 1,
            "uncertainty is of an ensemble",
        )


@dataclass(frozen=True)
class Cancel:
    """Give up the run of that id, between two of its stages. Unknown ids are ignored."""

    type: ClassVar[str] = "cancel"
    id: str


@dataclass(frozen=True)
class Ping:
    """Is the process alive? Answered by the reading thread, so also during a run."""

    type: ClassVar[str] = "ping"
    id: str


@dataclass(frozen=True)
class Shutdown:
    """Finish what was asked for and exit."""

    type: ClassVar[str] = "shutdown"


Request = Load | Run | Cancel | Ping | Shutdown


@dataclass(frozen=True)
class Hello:
    """The first line, at once."""

    type: ClassVar[str] = "hello"
    protocol: int
    pid: int
    versions: dict[str, str | None]  # of Python and the packages that matter; None: not installed


@dataclass(frozen=True)
class Loading:
    """A stage of loading has begun; ``fraction`` of all stages are done."""

    type: ClassVar[str] = "loading"
    id: str
    stage: str
    fraction: float

    def __post_init__(self) -> None:
        _check(0 <= self.fraction <= 1, "fraction is 0..1")


@dataclass(frozen=True)
class Attention:
    """What runs the UNet's attention, and why it is not flash-attn when it is not."""

    kernel: Literal["flash-attn", "sdpa"]
    version: str | None  # of flash-attn
    reason: str | None


@dataclass(frozen=True)
class Ready:
    """The model is loaded and takes runs."""

    type: ClassVar[str] = "ready"
    id: str
    model: str
    revision: str | None  # the commit on the hub; None for a folder
    mode: Mode  # upstream's word for LotusDPipeline and LotusGPipeline
    device: str  # cpu, or the card's name
    dtype: Literal["float16", "float32"]
    attention: Attention
    timings_ms: dict[str, float]  # a value a stage of loading


@dataclass(frozen=True)
class Progress:
    """A stage of a run has begun; ``fraction`` of all stages are done."""

    type: ClassVar[str] = "progress"
    id: str
    stage: str
    fraction: float

    def __post_init__(self) -> None:
        _check(0 <= self.fraction <= 1, "fraction is 0..1")


@dataclass(frozen=True)
class Result:
    """The map of a run; its planes are in the files that were named."""

    type: ClassVar[str] = "result"
    id: str
    width: int
    height: int
    channels: int  # 1, or the 3 of normals
    processing_width: int  # the size it was computed at, before scaling back
    processing_height: int
    min: float  # of the map, before normalisation and polarity
    max: float
    range: tuple[float, float]  # the values of pixel 0 and of pixel full
    dtype: Literal["float16", "float32"]  # float32 where float16 was not finite
    timings_ms: dict[str, float]
    warnings: list[str]

    def __post_init__(self) -> None:
        sides = (self.width, self.height, self.processing_width, self.processing_height)
        _check(min(sides) >= 1, "a map has at least one pixel")
        _check(self.channels in (1, 3), "a map has 1 or 3 channels")


@dataclass(frozen=True)
class Error:
    """A load or a run failed; with ``id`` null, the conversation did."""

    type: ClassVar[str] = "error"
    id: str | None
    code: ErrorCode
    message: str
    healthy: bool


@dataclass(frozen=True)
class Pong:
    """The answer to a ping."""

    type: ClassVar[str] = "pong"
    id: str


Reply = Hello | Loading | Ready | Progress | Result | Error | Pong

_REQUESTS: dict[str, type[Request]] = {c.type: c for c in get_args(Request)}
_REPLIES: dict[str, type[Reply]] = {c.type: c for c in get_args(Reply)}


def parse_request(line: bytes) -> Request:
    """Read a request from a line without its newline.

    Raises:
        ProtocolError: it is not UTF-8, not JSON, or not a request.
    """
    return _parse(line, _REQUESTS)


def parse_reply(line: bytes) -> Reply:
    """Read a reply, as Node does. Only the tests need it, to hold the shared examples against."""
    return _parse(line, _REPLIES)


def encode(message: Request | Reply) -> bytes:
    """Write a message as one line, newline included.

    Raises:
        ValueError: a number in it is not finite, which JSON has no word for.
    """
    body = {"type": message.type, **asdict(message)}
    line = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return line.encode() + b"\n"


def _parse(line: bytes, kinds: Mapping[str, type[Any]]) -> Any:
    try:
        value = json.loads(line.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # ValueError: no UTF-8, or no JSON
        raise ProtocolError(f"not a line of JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"a message is an object, not {type(value).__name__}")
    kind = value.pop("type", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ProtocolError(f"unknown type {kind!r}; known: {', '.join(kinds)}")
    return _build(kinds[kind], value, kind)


def _build(kind: type[Any], value: dict[str, Any], where: str) -> Any:
    """Make the dataclass `kind` of a JSON object that has its fields, all of them and no others."""
    hints = get_type_hints(kind)
    names = {field.name for field in fields(kind)}
    if unknown := value.keys() - names:
        raise ProtocolError(f"{where}: unknown field {', '.join(sorted(unknown))}")
    if missing := names - value.keys():
        raise ProtocolError(f"{where}: missing field {', '.join(sorted(missing))}")
    try:
        return kind(**{n: _convert(hints[n], value[n], f"{where}.{n}") for n in names})
    except ValueError as error:
        raise ProtocolError(f"{where}: {error}") from None


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Check a JSON value against a type hint and return it as that type."""
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint is str and isinstance(value, str):
        value.encode()  # a lone surrogate can come in as an escape, and go nowhere: ValueError
    if type(value) is hint:  # not isinstance: True is no integer here
        return value
    if is_dataclass(hint) and isinstance(value, dict):
        return _build(hint, value, where)  # pyright: ignore[reportArgumentType]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal and isinstance(value, str) and value in args:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(args, value, where)
    if origin is dict and isinstance(value, dict):
        return {k: _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    if origin is list and isinstance(value, list):
        return [_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is tuple and isinstance(value, list) and len(value) == len(args):
        pairs = zip(args, value, strict=True)
        return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))
    raise ProtocolError(f"{where}: {value!r} is not {getattr(hint, '__name__', hint)}")


def _convert_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """The unions of this protocol are all `something | None`."""
    if value is None and types.NoneType in options:
        return None
    (something,) = (option for option in options if option is not types.NoneType)
    return _convert(something, value, where)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(rule)
