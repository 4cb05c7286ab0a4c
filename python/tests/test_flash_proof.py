import importlib.util
import json
import sys

import pytest
import torch

from lotus_worker import flash_proof

needs_no_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Puts a module of this code in flash-attn's place."""

    def install(code: str) -> None:
        (tmp_path / "flash_attn.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "flash_attn", raising=False)

    yield install
    sys.modules.pop("flash_attn", None)


RIGHT = """
from torch.nn.functional import scaled_dot_product_attention

def flash_attn_func(q, k, v):
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v).transpose(1, 2)
"""


@needs_no_cuda
def test_without_a_device_it_says_that_nothing_was_compared(installed):
    installed(RIGHT)
    proof = flash_proof.prove()
    assert proof.works
    assert not proof.compared
    assert "not compared with torch" in proof.what


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("raise ImportError('libcudart.so.12\\nand more')", "ImportError: libcudart.so.12"),
        ("raise OSError('undefined symbol')", "OSError: undefined symbol"),
        ("", "AttributeError: module 'flash_attn' has no attribute 'flash_attn_func'"),
    ],
)
def test_what_does_not_import_does_not_work_and_the_reason_is_one_line(installed, code, what):
    installed(code)
    proof = flash_proof.prove()
    assert not proof.works
    assert proof.what == what


@pytest.mark.skipif(
    importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is installed"
)
def test_what_is_not_there_does_not_work():
    proof = flash_proof.prove()
    assert not proof.works
    assert proof.what == "ModuleNotFoundError: No module named 'flash_attn'"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("change", "works"), [("", True), (" * 2", False)])
def test_on_a_device_it_is_held_against_torchs_own(installed, change, works):
    installed(RIGHT.replace(".transpose(1, 2)\n", f".transpose(1, 2){change}\n"))
    proof = flash_proof.prove()
    assert proof.works is works
    assert proof.compared
    assert ("differs from torch by" in proof.what) is not works


def test_it_prints_one_line_of_json(installed, capsys):
    installed(RIGHT)
    flash_proof.main()
    assert json.loads(capsys.readouterr().out) == vars(flash_proof.prove())
