"""protocol: what is a message and what is not, by the examples that Node's tests read too."""

import json
import math
from dataclasses import replace

import pytest
from conftest import DEFAULTS, NO_PLANES, PROJECT, load_request

from lotus_worker.errors import ERROR_CODES
from lotus_worker.protocol import (
    MAX_LINE_BYTES,
    Cancel,
    Error,
    Image,
    Picture,
    Ping,
    Pong,
    ProtocolError,
    Result,
    Run,
    Shutdown,
    encode,
    parse_reply,
    parse_request,
)

EXAMPLES = PROJECT / "test" / "fixtures" / "protocol"
PARSE = {"requests": parse_request, "replies": parse_reply}


def examples(verdict):
    files = sorted(EXAMPLES.glob(f"*/{verdict}/*"))
    assert files, f"no examples in {EXAMPLES}"
    return [pytest.param(file, id=f"{file.parts[-3]}/{file.stem}") for file in files]


def parse_example(file):
    return PARSE[file.parts[-3]](file.read_bytes().removesuffix(b"\n"))


RUN = Run(
    id="7",
    image=Image(path="/scratch/łotus/写真.rgb", width=640, height=480),
    options=DEFAULTS,
    picture=Picture(normalize="percentile", invert=True, reverse_color=False),
    planes=replace(NO_PLANES, uint8="/scratch/out"),
)
RESULT = Result(
    id="7",
    width=640,
    height=480,
    channels=1,
    processing_width=768,
    processing_height=576,
    min=0.1,
    max=1 / 3,
    range=(1 / 3, 0.1),
    dtype="float16",
    timings_ms={"read": 0.5},
    warnings=["one"],
)


def changed(message, path, value):
    """The message's line with one field, `a.b`, of another value; deleted if it is `...`."""
    whole = json.loads(encode(message))
    *parents, last = path.split(".")
    part = whole
    for parent in parents:
        part = part[parent]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return json.dumps(whole).encode()


@pytest.mark.parametrize("file", examples("good"))
def test_a_good_example_is_read_and_written_as_the_same_json(file):
    assert json.loads(encode(parse_example(file))) == json.loads(file.read_bytes())


@pytest.mark.parametrize("file", examples("bad"))
def test_a_bad_example_is_refused(file):
    with pytest.raises(ProtocolError):
        parse_example(file)


def test_every_kind_of_message_and_every_error_code_has_a_good_example():
    read = [parse_example(param.values[0]) for param in examples("good")]
    kinds = {message.type for message in read}
    requests = {"load", "run", "cancel", "ping", "shutdown"}
    assert kinds == requests | {"hello", "loading", "ready", "progress", "result", "error", "pong"}
    assert {message.code for message in read if isinstance(message, Error)} == ERROR_CODES


@pytest.mark.parametrize("message", [load_request(), RUN, Cancel("7"), Ping("8"), Shutdown()])
def test_a_request_survives_the_way_there(message):
    line = encode(message)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert len(line) < MAX_LINE_BYTES
    assert parse_request(line[:-1]) == message


@pytest.mark.parametrize("message", [RESULT, Error(None, "internal", "a\nb", False), Pong("8")])
def test_a_reply_survives_the_way_back(message):
    line = encode(message)
    assert line.count(b"\n") == 1
    assert parse_reply(line[:-1]) == message


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_has_no_word_for_is_not_written(number):
    with pytest.raises(ValueError, match="JSON"):
        encode(replace(RESULT, min=number))


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_json_has_no_word_for_is_not_read(word):
    line = encode(RESULT).replace(b'"min":0.1', b'"min":' + word.encode())
    with pytest.raises(ProtocolError, match=word):
        parse_reply(line)


@pytest.mark.parametrize("field", ["image.width", "options.seed", "options.processing_res"])
@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_nothing_but_an_integer_is_an_integer(field, value):
    with pytest.raises(ProtocolError, match=f"run.{field}: "):
        parse_request(changed(RUN, field, value))


@pytest.mark.parametrize("value", [0, 1, "false", None])
def test_nothing_but_a_boolean_is_a_boolean(value):
    with pytest.raises(ProtocolError, match=r"run\.picture\.invert: "):
        parse_request(changed(RUN, "picture.invert", value))


@pytest.mark.parametrize("value", [True, "0.1", None])
def test_nothing_but_a_number_is_a_number(value):
    with pytest.raises(ProtocolError, match=r"result\.max: "):
        parse_reply(changed(RESULT, "max", value))


def test_an_integer_is_a_number():
    reply = parse_reply(changed(RESULT, "max", 1))
    assert isinstance(reply, Result)
    assert reply.max == 1.0


@pytest.mark.parametrize("field", ["id", "image", "image.height", "options.seed", "planes.uint8"])
def test_a_missing_field_is_named(field):
    *parents, name = field.split(".")
    where = ".".join(["run", *parents])
    with pytest.raises(ProtocolError, match=f"{where}: missing field {name}"):
        parse_request(changed(RUN, field, ...))


@pytest.mark.parametrize("field", ["batch", "image.format", "options.steps", "planes.uint32"])
def test_an_unknown_field_is_named(field):
    *parents, name = field.split(".")
    where = ".".join(["run", *parents])
    with pytest.raises(ProtocolError, match=f"{where}: unknown field {name}"):
        parse_request(changed(RUN, field, 1))


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("image.width", 0, "at least one pixel"),
        ("image.height", -1, "at least one pixel"),
        ("options.timestep", 1000, "0..999"),
        ("options.processing_res", -1, ">= 0"),
        ("options.seed", 2**53, "0..2"),
    ],
)
def test_a_number_out_of_bounds_is_refused_with_the_bounds(field, value, rule):
    with pytest.raises(ProtocolError, match=rule):
        parse_request(changed(RUN, field, value))


@pytest.mark.parametrize(
    ("field", "value"), [("options.timestep", 0), ("options.seed", 2**53 - 1), ("image.width", 1)]
)
def test_the_bounds_themselves_are_allowed(field, value):
    assert parse_request(changed(RUN, field, value))


def test_an_unknown_type_is_refused_with_the_known_ones():
    with pytest.raises(ProtocolError, match=r"'reload'.*load, run, cancel, ping, shutdown"):
        parse_request(b'{"type":"reload"}')


def test_a_line_nested_too_deep_is_refused():
    with pytest.raises(ProtocolError):
        parse_request(b"[" * 100_000 + b"]" * 100_000)


def test_text_that_utf8_cannot_write_is_refused():
    # Half of a surrogate pair: JSON can spell it, but no reply could repeat it.
    with pytest.raises(ProtocolError):
        parse_request(rb'{"type":"ping","id":"\ud800"}')
