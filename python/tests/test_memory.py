"""memory: which errors mean that it ran out."""

import errno

import pytest
import torch
from safetensors.torch import load_file, save_file

from lotus_worker import memory
from lotus_worker.memory import available_memory, group_rooms, is_out_of_memory, mapped_bytes


def test_torchs_own_error_on_the_cpu_is_known_as_out_of_memory():
    with pytest.raises(RuntimeError, check=is_out_of_memory):
        torch.empty(2**50)


def test_pythons_own_error_is_known_as_out_of_memory():
    with pytest.raises(MemoryError, check=is_out_of_memory):
        bytearray(2**62)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), OSError(errno.ENOMEM, "no memory")]
)
def test_the_cards_and_the_systems_errors_are_known_as_out_of_memory(error):
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("size mismatch"), OSError(errno.ENOSPC, "No space left on device")]
)
def test_other_errors_are_not_out_of_memory(error):
    assert not is_out_of_memory(error)


# --- what there is


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_a_machine_tells_what_it_has():
    available = available_memory(torch.device("cpu"))
    assert available is not None
    assert 0 < available < 2**45


def test_a_group_of_version_2_and_those_around_it_leave_what_they_do_not_use(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/worker\n",
            "sys/fs/cgroup/pod/memory.max": "1000\n",
            "sys/fs/cgroup/pod/memory.current": "900\n",
            "sys/fs/cgroup/pod/memory.stat": "anon 700\ninactive_file 150\nactive_file 50\n",
            "sys/fs/cgroup/pod/worker/memory.max": "max\n",
            "sys/fs/cgroup/pod/worker/memory.current": "900\n",
        },
    )
    assert list(group_rooms(tmp_path)) == [300]


def test_a_group_of_version_1_leaves_what_it_does_not_use(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n",
            "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/x/memory.usage_in_bytes": "600\n",
            "sys/fs/cgroup/memory/x/memory.stat": "cache 9\ntotal_inactive_file 100\n",
        },
    )
    assert list(group_rooms(tmp_path)) == [500]


def test_in_a_container_the_group_at_the_mounts_root_is_found(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/docker/abc\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "400\n",
        },
    )
    assert list(group_rooms(tmp_path)) == [600]


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "1400\n",
        },
    )
    assert list(group_rooms(tmp_path)) == [0]


def test_a_system_without_groups_has_none(tmp_path):
    assert list(group_rooms(tmp_path)) == []


# --- weights that are mapped from files


@pytest.fixture
def mapped(tmp_path):
    """Tensors of 4 MB as safetensors leaves them, mapped from a file."""
    file = tmp_path / "weights.safetensors"
    save_file({"one": torch.ones(750_000), "two": torch.ones(250_000)}, file)
    return [*load_file(file).values()]


def test_weights_that_are_mapped_from_a_file_are_counted(mapped):
    assert mapped_bytes(mapped) == 4_000_000


def test_weights_that_are_shared_are_counted_once(mapped):
    assert mapped_bytes([*mapped, *mapped]) == 4_000_000


def test_weights_in_memory_of_their_own_are_not_counted(mapped):
    assert mapped_bytes([tensor.clone() for tensor in mapped]) == 0
    assert mapped_bytes([torch.empty(0), torch.empty(4, device="meta")]) == 0


def test_where_the_kernel_tells_no_mappings_none_are_counted(mapped, tmp_path):
    assert mapped_bytes(mapped, tmp_path / "none") == 0


def test_what_is_free_is_less_by_the_weights_that_are_mapped(mapped, monkeypatch):
    monkeypatch.setattr(memory, "group_rooms", lambda _root: iter([10_000_000]))
    cpu = torch.device("cpu")
    assert available_memory(cpu) == 10_000_000
    assert available_memory(cpu, mapped) == 6_000_000
    assert available_memory(cpu, [tensor.clone() for tensor in mapped]) == 10_000_000
    monkeypatch.setattr(memory, "group_rooms", lambda _root: iter([1_000]))
    assert available_memory(cpu, mapped) == 0
