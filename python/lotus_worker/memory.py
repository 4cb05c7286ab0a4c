"""What memory there is, and what running out of it looks like."""

import errno
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

SIGNS = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory, the card's or the machine's, ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch's CPU allocator and CUDA's libraries have no exceptions of their own.
    return any(sign in str(error) for sign in SIGNS)


def available_memory(device: torch.device, weights: Iterable[torch.Tensor] = ()) -> int | None:
    """Bytes that a run on the device can get; None where the system does not tell.

    On CUDA what the card has free, and what torch's allocator holds without using it. On the CPU
    the least of what the machine has and of what each control group leaves, since going over
    either ends in a SIGKILL for this process or another.

    Args:
        device: where the run is.
        weights: what the run reads. Where they are mapped from files they are a cache to the
            system, which it can give back, and so count as free; they are not, to the run.
    """
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + held
    rooms = [
        room for room in (_machine_room(Path("/")), *group_rooms(Path("/"))) if room is not None
    ]
    return max(0, min(rooms) - mapped_bytes(weights)) if rooms else None


def mapped_bytes(tensors: Iterable[torch.Tensor], maps: Path = Path("/proc/self/maps")) -> int:
    """Bytes of tensors that lie in files mapped into memory, as safetensors leaves them on a CPU.

    They are reckoned instead of copied, which would read all of a checkpoint at each start. All of
    them count, also those that are not in memory now: a run brings them back.

    Source for the lines: Linux' Documentation/filesystems/proc.rst.
    """
    ranges = []
    for line in _text(maps).splitlines():
        where, _permissions, _offset, _device, inode, *_path = line.split()
        if inode != "0":
            ranges.append(tuple(int(end, 16) for end in where.split("-")))
    starts = [start for start, _end in ranges]  # the kernel lists them in their order
    sizes = {}  # by address, since tensors may be shared
    for tensor in tensors:
        at = tensor.data_ptr()
        before = bisect_right(starts, at) - 1
        if tensor.device.type == "cpu" and before >= 0 and at < ranges[before][1]:
            sizes[at] = tensor.nbytes
    return sum(sizes.values())


def group_rooms(root: Path) -> Iterator[int]:
    """What each memory control group of this process leaves of its limit, version 2 and 1.

    A group's own limit may be above that of the group it is in, so all of them count. In a
    container the path that the kernel tells may begin above what is mounted; then only the
    container's own group is found, at the mount's root.

    Args:
        root: the file system's root.

    Source: Linux' Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
    """
    for line in _text(root / "proc/self/cgroup").splitlines():
        _number, controllers, path = line.split(":", 2)
        if controllers == "":
            mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        else:
            continue
        group = mount / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(mount):
                break
            if (room := _room_in(folder, *names)) is not None:
                yield room


def _room_in(group: Path, limit: str, usage: str, prefix: str) -> int | None:
    """Limit less usage, of which the cache of files is given back when it is needed."""
    most, used = _text(group / limit).strip(), _text(group / usage).strip()
    if not (most.isdigit() and used.isdigit()):
        return None  # no such group, or no limit: "max"
    stat = dict(line.split(" ", 1) for line in _text(group / "memory.stat").splitlines())
    cached = sum(int(stat.get(f"{prefix}{name}", 0)) for name in ("active_file", "inactive_file"))
    return max(0, int(most) - int(used) + cached)


def _machine_room(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        name, _colon, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024  # it says kB, and means KiB
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
