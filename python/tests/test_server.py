"""server: whole conversations with a real process."""

import os
import resource
import select
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import (
    DEFAULTS,
    HANG_SECONDS,
    MINMAX,
    NO_PLANES,
    UPSTREAM,
    Worker,
    child_environment,
    draw,
    load_request,
    of_kind,
    run_on,
    write_image,
)

from lotus_worker.protocol import (
    MAX_LINE_BYTES,
    PROTOCOL_VERSION,
    Cancel,
    Error,
    Hello,
    Image,
    Loading,
    Ping,
    Pong,
    Progress,
    Ready,
    Result,
    Run,
    Shutdown,
    encode,
)
from lotus_worker.stages import LOAD_STAGES, RUN_STAGES

#: Long edges at which the sample model is busy for about a second, and for about a minute.
A_SECOND, A_MINUTE = 768, 2048


@pytest.fixture(scope="module")
def worker():
    """A process with the sample model loaded. Tests leave it idle."""
    with Worker() as worker:
        assert isinstance(worker.ask(load_request(), Ready, Error), Ready)
        yield worker


@pytest.fixture
def request_run(tmp_path):
    """Make a run of a small image, whose map goes to a file named after its id."""
    image = write_image(tmp_path, draw(48, 32))

    def make(id_="run", processing_res=0, image=image, **options):
        return Run(
            id=id_,
            image=image,
            options=replace(DEFAULTS, processing_res=processing_res, **options),
            picture=MINMAX,
            planes=replace(NO_PLANES, float32=str(tmp_path / f"{id_}.f32")),
        )

    return make


def map_of(run):
    return Path(run.planes.float32).read_bytes()


def assert_good(worker, run):
    """The process still answers, with a map."""
    assert isinstance(worker.ask(run, Result, Error), Result)


# --- hello, load, run


def test_hello_comes_first_and_unasked_with_the_protocol_and_every_version():
    with Worker() as worker:
        hello = worker.hello
        assert isinstance(hello, Hello)
        assert hello.protocol == PROTOCOL_VERSION
        assert hello.pid == worker.process.pid
        assert hello.versions["python"] == ".".join(map(str, sys.version_info[:3]))
        for package in ("lotus_worker", "torch", "torchvision", "diffusers", "transformers"):
            assert hello.versions[package], package
        assert "flash-attn" in hello.versions


def test_load_is_answered_by_its_stages_and_ready(request_run):
    with Worker() as worker:
        worker.send(load_request())
        *stages, ready = worker.receive_until(Ready, Error)
        assert [loading.stage for loading in of_kind(Loading, stages)] == list(LOAD_STAGES)
        assert isinstance(ready, Ready)
        assert (ready.id, ready.device, ready.dtype) == ("load", "cpu", "float32")
        assert ready.attention.kernel == "sdpa"

        # What was asked for before a shutdown is finished.
        first, second = request_run("first"), request_run("second")
        worker.send(first, second, Shutdown())
        results = of_kind(Result, worker.receive_rest())
        assert [result.id for result in results] == ["first", "second"]
        assert worker.exit_code() == 0
        assert map_of(first) == map_of(second)


def test_run_is_answered_by_its_stages_and_the_result(worker, request_run):
    worker.send(request_run("r1"))
    *stages, result = worker.receive_until(Result, Error)
    assert [progress.stage for progress in of_kind(Progress, stages)] == list(RUN_STAGES)
    assert {progress.id for progress in of_kind(Progress, stages)} == {"r1"}
    assert isinstance(result, Result)
    assert (result.id, result.width, result.height) == ("r1", 48, 32)


def test_the_process_gives_the_map_that_the_model_gives_here(worker, lotus, request_run, tmp_path):
    run = request_run()
    assert_good(worker, run)
    expected = run_on(lotus, tmp_path, draw(48, 32), processing_res=0).depth
    np.testing.assert_array_equal(np.frombuffer(map_of(run), "<f4").reshape(32, 48), expected)


# --- in any order


def test_a_run_before_load_is_a_bad_request_that_the_process_survives(request_run):
    with Worker() as worker:
        error = worker.ask(request_run(), Result, Error)
        assert (error.id, error.code, error.healthy) == ("run", "bad_request", True)
        assert worker.ask(Ping("still"), Pong, Error) == Pong("still")


def test_a_second_load_is_a_bad_request_that_the_model_survives(worker, request_run):
    error = worker.ask(load_request(), Ready, Error)
    assert (error.id, error.code, error.healthy) == ("load", "bad_request", True)
    assert_good(worker, request_run())


def test_a_run_that_failed_is_told_with_its_id_and_the_next_one_works(worker, request_run):
    missing = request_run("lost", image=Image("/nowhere/image.rgb", 4, 4))
    error = worker.ask(missing, Result, Error)
    assert (error.id, error.code, error.healthy) == ("lost", "shape_not_admitted", True)
    missing = request_run("lost", image=Image("/nowhere/image.rgb", 8, 8))
    error = worker.ask(missing, Result, Error)
    assert (error.id, error.code, error.healthy) == ("lost", "bad_request", True)
    assert_good(worker, request_run())


def test_two_runs_of_one_id_do_not_end_the_process(tmp_path, request_run):
    with Worker() as worker:
        # The load, of a model that is not there, keeps the process busy until both runs wait.
        worker.send(load_request(tmp_path), request_run("same"), request_run("same"), Shutdown())
        errors = of_kind(Error, worker.receive_rest())
        assert sorted(str(error.id) for error in errors) == ["load", "same", "same"]
        assert all(error.healthy for error in errors), errors
        assert worker.exit_code() == 0


# --- during a run


def test_ping_is_answered_during_a_run(worker, request_run):
    worker.send(request_run("long", processing_res=A_SECOND))
    worker.receive_until(Progress)
    worker.send(Ping("alive?"))
    replies = worker.receive_until(Result, Error)
    assert of_kind(Pong, replies) == [Pong("alive?")]
    assert isinstance(replies[-1], Result)


def test_a_run_that_waits_can_be_cancelled_before_it_starts(worker, request_run):
    long, waiting = request_run("long", processing_res=A_SECOND), request_run("waiting")
    worker.send(long, waiting, Cancel("waiting"))
    assert worker.receive_until(Result, Error)[-1].type == "result"
    error = worker.receive()
    assert isinstance(error, Error)
    assert (error.id, error.code, error.healthy) == ("waiting", "cancelled", True)
    assert not Path(str(waiting.planes.float32)).exists()
    assert_good(worker, request_run())


def test_a_run_can_be_cancelled_between_two_of_its_stages(worker, request_run):
    run = request_run("long", processing_res=A_SECOND)
    worker.send(run)
    worker.receive_until(Progress)
    worker.send(Cancel("long"))
    error = worker.receive_until(Result, Error)[-1]
    assert isinstance(error, Error)
    assert (error.id, error.code, error.healthy) == ("long", "cancelled", True)
    assert "before stage" in error.message
    assert not Path(str(run.planes.float32)).exists()
    assert_good(worker, request_run())


def test_cancelling_a_run_that_is_over_or_never_was_is_ignored(worker, request_run):
    assert_good(worker, request_run("over"))
    worker.send(Cancel("over"), Cancel("never"), Ping("still"))
    assert worker.receive() == Pong("still")
    assert_good(worker, request_run("over"))


# --- memory


@contextmanager
def room_of(process, room):
    """Let the process map so many bytes more than it has, and no more, for a while."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + room
    _, hard = resource.prlimit(process.pid, resource.RLIMIT_AS)
    soft, _ = resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux'")
@pytest.mark.parametrize("room", [4 << 20, 512 << 20], ids=["for nothing", "for half the encoder"])
def test_memory_that_runs_out_fails_the_run_and_leaves_the_process_good(
    worker, request_run, tmp_path, room
):
    small = request_run("small")
    assert_good(worker, small)
    before = map_of(small)

    path = tmp_path / "large.rgb"
    with path.open("wb") as file:
        file.truncate(4096 * 4096 * 3)
    with room_of(worker.process, room):
        error = worker.ask(request_run("large", image=Image(str(path), 4096, 4096)), Result, Error)
    assert (error.id, error.code, error.healthy) == ("large", "out_of_memory", True)
    assert "4096x4096" in error.message

    assert_good(worker, small)
    assert map_of(small) == before


# --- the end


def test_shutdown_ends_an_idle_process_with_code_0():
    with Worker() as worker:
        worker.send(Shutdown())
        assert worker.receive_rest() == []
        assert worker.exit_code() == 0


def test_the_end_of_input_ends_an_idle_process_with_code_0():
    with Worker() as worker:
        worker.close_input()
        assert worker.receive_rest() == []
        assert worker.exit_code() == 0


def test_the_end_of_input_ends_a_process_in_the_middle_of_a_run(request_run):
    with Worker() as worker:
        assert isinstance(worker.ask(load_request(), Ready, Error), Ready)
        worker.send(request_run(processing_res=A_MINUTE))
        worker.receive_until(Progress)
        worker.close_input()
        assert of_kind(Result, worker.receive_rest()) == []
        assert worker.exit_code() == 0


def test_an_error_that_nobody_foresaw_is_internal_and_ends_the_process(tmp_path, request_run):
    (tmp_path / "pipeline.py").write_text(
        f"""
import importlib.util
spec = importlib.util.spec_from_file_location("standin", {str(UPSTREAM / "pipeline.py")!r})
standin = importlib.util.module_from_spec(spec)
spec.loader.exec_module(standin)

class LotusDPipeline(standin.LotusDPipeline):
    def __call__(self, rgb_in, generator, task_emb, prompt_embeds, timesteps, output_type,
                 processing_res, match_input_res, resample_method):
        print("about to fail")
        raise ZeroDivisionError("in upstream")

LotusGPipeline = LotusDPipeline
"""
    )
    with Worker() as worker:
        worker.send(load_request(upstream=tmp_path), request_run(), request_run("never"))
        replies = worker.receive_rest()
        assert len(of_kind(Ready, replies)) == 1
        (error,) = of_kind(Error, replies)
        assert (error.id, error.code, error.healthy) == ("run", "internal", False)
        assert error.message == "ZeroDivisionError: in upstream"
        assert worker.exit_code() == 3


PARENT = """
import subprocess, sys
# Its standard input and output are ours; ours are held open by somebody else as well.
subprocess.Popen([sys.executable, "-P", "-m", "lotus_worker"]).wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux'")
def test_a_process_whose_parent_was_killed_ends_although_its_input_stays_open():
    requests, hold_open = os.pipe()
    replies, write_end = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=requests, stdout=write_end, env=child_environment()
    )
    os.close(requests)
    os.close(write_end)
    with os.fdopen(replies, "rb", buffering=0) as reader, os.fdopen(hold_open, "wb"):
        hello = reader.readline()  # by now it has asked for the signal
        assert b'"hello"' in hello
        parent.kill()
        parent.wait()
        ready, _, _ = select.select([reader], [], [], HANG_SECONDS)
        assert ready, "it lives on"
        assert reader.read() == b""


# --- lines that are no messages


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"load the model\n", "not a line of JSON"),
        (b"\n", "not a line of JSON"),
        (b'{"type":"reload","id":"1"}\n', "unknown type 'reload'"),
        (b'{"type":"pong","id":"1"}\n', "unknown type 'pong'"),
        (b'{"type":"ping"}\n', "ping: missing field id"),
        (b'{"type":"ping","id":"\xff"}\n', "not a line of JSON: 'utf-8'"),
        (b"x" * (MAX_LINE_BYTES + 1) + b"\n", f"at most {MAX_LINE_BYTES} bytes"),
        (b"x" * (MAX_LINE_BYTES + 2), f"at most {MAX_LINE_BYTES} bytes"),
        (b"[" * 200_000 + b"]" * 200_000 + b"\n", ""),
        (rb'{"type":"ping","id":"\ud800"}' + b"\n", ""),
        (rb'{"type":"ping","id":"1","\ud800":2}' + b"\n", ""),
    ],
    ids=[
        "garbage",
        "empty",
        "unknown type",
        "a reply",
        "no id",
        "invalid UTF-8",
        "one byte too long",
        "too long and no end",
        "nested too deep",
        "half a surrogate pair",
        "half a surrogate pair in a name",
    ],
)
def test_a_line_that_is_no_message_is_an_error_without_id_and_ends_the_process(line, message):
    with Worker() as worker:
        worker.send_bytes(line)
        (error,) = of_kind(Error, worker.receive_rest())
        assert (error.id, error.code, error.healthy) == (None, "bad_request", False)
        assert message in error.message
        assert worker.exit_code() == 2


def test_half_a_line_at_the_end_of_input_is_an_error():
    with Worker() as worker:
        worker.send_bytes(b'{"type":"shutdown"')
        worker.close_input()
        (error,) = of_kind(Error, worker.receive_rest())
        assert (error.id, error.healthy) == (None, False)
        assert "middle of a line" in error.message
        assert worker.exit_code() == 2


def test_the_longest_line_is_read():
    ping = Ping("x" * (MAX_LINE_BYTES - len(encode(Ping(""))) + 1))
    assert len(encode(ping)) == MAX_LINE_BYTES + 1  # with its newline
    with Worker() as worker:
        assert worker.ask(ping, Pong, Error) == Pong(ping.id)


def test_the_error_about_a_long_line_is_itself_a_line_that_is_not_too_long():
    # Each of these bytes would be five in the message.
    line = b'{"type":"ping","id":["' + b"\x7f" * 900_000 + b'"]}\n'
    assert len(line) < MAX_LINE_BYTES
    with Worker() as worker:
        worker.send_bytes(line)
        assert len(encode(worker.receive())) <= MAX_LINE_BYTES + 1
        assert worker.exit_code() == 2


def test_messages_may_come_in_pieces_and_several_at_once():
    pings = encode(Ping("a")) + encode(Ping("b"))
    with Worker() as worker:
        worker.send_bytes(pings[:9])
        worker.send_bytes(pings[9:])
        assert [worker.receive(), worker.receive()] == [Pong("a"), Pong("b")]


def test_a_termination_signal_ends_the_process_without_another_word():
    with Worker() as worker:
        worker.process.send_signal(signal.SIGTERM)
        assert worker.receive_rest() == []
        assert worker.exit_code() == -signal.SIGTERM
