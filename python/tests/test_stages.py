"""stages: time, progress and cancelling, stage by stage."""

from types import SimpleNamespace

import pytest
import torch
from conftest import run_python

from lotus_worker import stages as module
from lotus_worker.stages import RUN_STAGES, Stages


def ignore(_name, _fraction):
    """Take a stage's begin and do nothing."""


def test_each_stage_is_told_with_the_fraction_that_is_behind_it():
    told = []
    stages = Stages(("a", "b", "c", "d"), lambda *begun: told.append(begun))
    for name in "abcd":
        stages.begin(name)
    assert told == [("a", 0.0), ("b", 0.25), ("c", 0.5), ("d", 0.75)]


def test_the_time_of_a_stage_is_what_passed_between_its_begin_and_the_next(monkeypatch):
    clock = iter([1.0, 1.5, 2.0, 2.25])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    stages = Stages(("a", "b"), ignore)
    stages.begin("a")
    stages.begin("b")
    assert stages.finish() == {"a": 500.0, "b": 250.0}


def test_a_stage_begun_again_adds_to_its_time(monkeypatch):
    clock = iter([0.0, 1.0, 1.0, 2.0, 2.0, 4.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    stages = Stages(("a", "b"), ignore)
    for name in "aba":
        stages.begin(name)
    assert stages.finish() == {"a": 3000.0, "b": 1000.0}


def test_the_device_is_waited_for_at_the_end_of_each_stage():
    events = []
    stages = Stages(("a", "b"), lambda name, _: events.append(name), lambda: events.append("wait"))
    stages.begin("a")
    stages.begin("b")
    stages.finish()
    assert events == ["a", "wait", "b", "wait"]


def test_what_on_begin_raises_stops_the_work():
    def refuse(name, _fraction):
        if name == "b":
            raise InterruptedError(name)

    stages = Stages(("a", "b"), refuse)
    stages.begin("a")
    with pytest.raises(InterruptedError, match="b"):
        stages.begin("b")


def test_a_networks_forward_pass_begins_its_stage():
    told = []
    net, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    stages = Stages(RUN_STAGES, lambda name, _: told.append(name))
    with stages.watching({"vae_encode": net, "unet": other}):
        other(net(torch.ones(1)))
    assert told == ["vae_encode", "unet"]


@pytest.mark.parametrize("fails", [False, True])
def test_networks_are_watched_no_longer_than_the_block_even_when_it_fails(fails):
    told = []
    net = torch.nn.Linear(1, 1)
    stages = Stages(RUN_STAGES, lambda name, _: told.append(name))
    try:
        with stages.watching({"unet": net}):
            if fails:
                raise InterruptedError
    except InterruptedError:
        pass
    net(torch.ones(1))
    assert told == []


def test_the_server_can_say_hello_without_importing_torch():
    done = run_python("import sys, lotus_worker.server; print('torch' in sys.modules)")
    assert done.stdout == b"False\n"
