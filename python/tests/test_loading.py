"""loading: upstream's code, then the checkpoint, and what each of them can lack."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import CHECKPOINT, load_request, load_stages
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lotus_worker import parts
from lotus_worker.errors import WorkerError
from lotus_worker.loading import (
    find_checkpoint,
    import_upstream,
    load,
    pick_device,
    pick_dtype,
)
from lotus_worker.memory import is_out_of_memory
from lotus_worker.stages import LOAD_STAGES
from train.model import LATENT_CHANNELS, make_unet

WEIGHTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}


def with_code(code):
    """For pytest.raises(check=...)."""
    return lambda error: error.code == code


# --- device and type


def test_the_type_follows_the_device_unless_it_is_named():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert pick_dtype("auto", cpu) == torch.float32
    assert pick_dtype("auto", cuda) == torch.float16
    assert pick_dtype("float16", cpu) == torch.float16
    assert pick_dtype("float32", cuda) == torch.float32


def test_the_cpu_is_taken_when_it_is_named():
    assert pick_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_without_cuda_auto_is_the_cpu_and_cuda_is_an_error():
    assert pick_device("auto").type == "cpu"
    with pytest.raises(WorkerError, match="no CUDA", check=with_code("bad_request")):
        pick_device("cuda")


# --- upstream


@pytest.fixture
def fresh_imports():
    """No module called `pipeline` is imported yet; afterwards everything is as it was."""
    path, ours = sys.path[:], sys.modules.pop("pipeline", None)
    yield
    sys.path[:] = path
    sys.modules.pop("pipeline", None)
    if ours is not None:
        sys.modules["pipeline"] = ours


CALL = "def __call__(self, rgb_in, generator, task_emb, prompt_embeds, timesteps, output_type"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "no pipeline.py in {root}"),
        ("import no_such_package", "{root}: ModuleNotFoundError: .*no_such_package"),
        ("1 / 0", "{root}: ZeroDivisionError"),
        ("def f(:", "{root}: SyntaxError"),
        ("class LotusGPipeline: pass", "{root}: AttributeError: .*LotusDPipeline"),
        ("class LotusDPipeline: pass", "{root}: AttributeError: .*LotusGPipeline"),
        (
            f"class LotusDPipeline:\n    {CALL}, processing_res): pass\n"
            "LotusGPipeline = LotusDPipeline",
            "LotusDPipeline in {root} does not take match_input_res, resample_method",
        ),
    ],
)
@pytest.mark.usefixtures("fresh_imports")
def test_a_checkout_that_is_not_upstreams_is_refused_with_its_path(tmp_path, code, message):
    if code is not None:
        (tmp_path / "pipeline.py").write_text(code)
    with pytest.raises(
        WorkerError, match=message.format(root=tmp_path), check=with_code("incompatible_upstream")
    ) as caught:
        import_upstream(tmp_path)
    assert "LOTUS_UPSTREAM_DIR" in str(caught.value)


@pytest.mark.usefixtures("fresh_imports")
def test_a_checkout_that_takes_every_parameter_is_imported(tmp_path):
    # It imports from a package at its own root that is called `utils`, as upstream's does.
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "image_utils.py").write_text("NAME = 'of the checkout'")
    (tmp_path / "pipeline.py").write_text(
        "from utils.image_utils import NAME\n"
        f"class LotusDPipeline:\n    name = NAME\n    {CALL}, processing_res, match_input_res,"
        " resample_method, more=None): pass\n"
        "class LotusGPipeline(LotusDPipeline): pass"
    )
    try:
        upstream = import_upstream(tmp_path)
        assert upstream.generation.name == upstream.regression.name == "of the checkout"
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "utils"]:
            del sys.modules[name]


# --- checkpoints


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the sample checkpoint, to damage."""
    return Path(shutil.copytree(CHECKPOINT, tmp_path / "checkpoint"))


def load_folder(folder):
    return load(load_request(model=folder), load_stages())


def refused(code, message):
    return pytest.raises(WorkerError, match=message, check=with_code(code))


def test_loading_begins_its_stages_in_order():
    stages = []
    load(load_request(), load_stages(lambda name, _fraction: stages.append(name)))
    assert stages == list(LOAD_STAGES)


@pytest.mark.parametrize("revision", [None, "0123456789abcdef0123456789abcdef01234567"])
def test_the_revision_is_the_one_that_node_knows(revision):
    loaded = load(load_request(revision=revision), load_stages())
    assert loaded.revision == revision


@pytest.mark.parametrize("model", ["somebody/lotus", "checkpoint", ""])
def test_a_model_that_is_no_absolute_path_is_not_found(model):
    with refused("model_not_found", "no checkpoint in"):
        find_checkpoint(model)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_model_is_loaded_in_the_type_that_was_asked_for(dtype):
    loaded = load(load_request(dtype=dtype), load_stages())
    wanted = getattr(torch, dtype)
    assert loaded.dtype == wanted
    assert loaded.prompt_embeds.dtype == wanted
    pipeline = loaded.pipeline
    parameters = [*pipeline.unet.parameters(), *pipeline.vae.parameters()]
    assert {parameter.dtype for parameter in parameters} == {wanted}


def test_the_text_encoder_is_gone_and_its_embedding_of_nothing_stays(lotus, pipeline):
    loaded = lotus._loaded
    assert loaded.pipeline.text_encoder is None
    parts = loaded.pipeline.components.values()
    assert not any(isinstance(part, PreTrainedModel) for part in parts)
    expected, _ = pipeline.encode_prompt("", torch.device("cpu"), 1, False)
    assert torch.equal(loaded.prompt_embeds, expected)


def test_a_folder_without_a_checkpoint_is_not_found(tmp_path):
    with refused("model_not_found", f"{tmp_path}.*model_index.json"):
        load_folder(tmp_path)


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_are_cut_short_are_refused_with_the_folder(checkpoint, part):
    file = checkpoint / part / f"{WEIGHTS[part]}.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


@pytest.mark.parametrize("part", WEIGHTS)
def test_weights_that_are_missing_are_refused_with_the_folder(checkpoint, part):
    (checkpoint / part / f"{WEIGHTS[part]}.safetensors").unlink()
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


class Mine:
    """A pickle that leaves a trace when it is opened."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("unet", "diffusion_pytorch_model.bin"),
        ("vae", "diffusion_pytorch_model.bin"),
        ("text_encoder", "pytorch_model.bin"),
    ],
)
def test_pickled_weights_are_refused_and_never_opened(checkpoint, tmp_path, part, name):
    safe = checkpoint / part / f"{WEIGHTS[part]}.safetensors"
    torch.save(load_file(safe) | {"mine": Mine(tmp_path / "opened")}, checkpoint / part / name)
    safe.unlink()
    with refused("incompatible_model", "safetensors"):
        load_folder(checkpoint)
    assert not (tmp_path / "opened").exists()


def test_what_a_checkpoint_generates_or_regresses_is_told_by_its_unet(generation_checkpoint):
    assert load_folder(CHECKPOINT).mode == "regression"
    loaded = load_folder(generation_checkpoint)
    assert (loaded.mode, type(loaded.pipeline).__name__) == ("generation", "LotusGPipeline")


def save_unet(checkpoint, **config):
    """Put a UNet of another configuration into a checkpoint."""
    unet = UNet2DConditionModel.from_config(make_unet().config, **config)
    assert isinstance(unet, UNet2DConditionModel)
    unet.save_pretrained(checkpoint / "unet")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_channels": 5}, f"5 input channels, not {LATENT_CHANNELS} or {2 * LATENT_CHANNELS}"),
        (
            {"class_embed_type": None, "projection_class_embeddings_input_dim": None},
            "task embedding",
        ),
        ({"projection_class_embeddings_input_dim": 6}, "task embedding"),
    ],
)
def test_a_unet_that_is_not_lotus_is_refused(checkpoint, config, message):
    save_unet(checkpoint, **config)
    with refused("incompatible_model", f"{checkpoint} .*{message}"):
        load_folder(checkpoint)


def test_weights_of_another_architecture_are_refused(checkpoint):
    config = checkpoint / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"block_out_channels": [8, 16]}))
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "tokenizer/vocab.json"])
def test_a_json_file_that_is_damaged_is_refused(checkpoint, file):
    (checkpoint / file).write_text("{")
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


@pytest.mark.parametrize(
    "kind", [["diffusers", "NoSuchModel"], ["no_such_library", "UNet2DConditionModel"]]
)
def test_a_checkpoint_of_parts_that_nobody_has_is_refused(checkpoint, kind):
    index = checkpoint / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"unet": kind}))
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


def test_a_text_encoder_that_lacks_weights_is_refused(checkpoint):
    file = checkpoint / "text_encoder" / "model.safetensors"
    weights = load_file(file)
    del weights["text_model.final_layer_norm.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


# --- code, and headers that lie


def leave_a_mark(checkpoint, tmp_path, module, part):
    """A module in a part's folder that leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    code = f"open({str(mark)!r}, 'w')\nfrom diffusers import *\nfrom transformers import *\n"
    (checkpoint / part / f"{module}.py").write_text(code)
    return mark


def change_index(checkpoint, **parts):
    index = checkpoint / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | parts))


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ("unet", ["mine", "UNet2DConditionModel"]),
        ("unet", ["diffusers", "UNet2DConditionModel"]),
        ("vae", ["diffusers", "AutoencoderKL"]),
        ("text_encoder", ["transformers", "CLIPTextModel"]),
        ("scheduler", ["../unet/mine", "DDIMScheduler"]),
    ],
)
def test_code_in_a_checkpoint_is_refused_and_never_run(checkpoint, tmp_path, part, kind):
    folder, _, module = kind[0].rpartition("/")
    mark = leave_a_mark(checkpoint, tmp_path, module, Path(folder).name or part)
    change_index(checkpoint, **{part: kind})
    with refused("incompatible_model", f"{checkpoint} .*{part}"):
        load_folder(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"unet": ["os", "system"]},
        {"unet": ["diffusers", "DiffusionPipeline"]},
        {"vae": ["diffusers", "AsymmetricAutoencoderKL"]},
        {"unet": ["diffusers", "models", "UNet2DConditionModel"]},
        {"unet": ["diffusers"]},
        {"unet": [None, "UNet2DConditionModel"]},
        {"unet": [["diffusers"], "UNet2DConditionModel"]},
        {"unet": "xY"},
        {"unet": {"x": 1, "Y": 2}},
        {"unet": {"diffusers": 1, "UNet2DConditionModel": 2}},
        {"unet": None},
        {"unet": []},
        {"scheduler": [None, "DDIMScheduler"]},
        {"safety_checker": "xY"},
        {"more": ["diffusers", "UNet2DConditionModel"]},
        {"more": [None, None]},
    ],
    ids=str,
)
def test_parts_by_other_classes_than_lotus_ones_are_refused_by_name(checkpoint, changed):
    change_index(checkpoint, **changed)
    (part,) = changed
    with refused("incompatible_model", f"{checkpoint} has a part {part} of "):
        load_folder(checkpoint)


@pytest.mark.parametrize("kind", ["xY", {"x": 1, "Y": 2}], ids=str)
def test_a_part_that_is_no_list_is_refused_and_its_file_never_run(checkpoint, tmp_path, kind):
    mark = leave_a_mark(checkpoint, tmp_path, "x", "unet")
    change_index(checkpoint, unet=kind)
    with refused("incompatible_model", f"{checkpoint} has a part unet of .*, no module and class"):
        load_folder(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize("place", ["None.py", "unet/x.py", "more/.hidden/deep/x.py", "vae/X.PY"])
def test_code_anywhere_in_a_checkpoint_is_refused_and_never_run(checkpoint, tmp_path, place):
    mark = tmp_path / "imported"
    file = checkpoint / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"open({str(mark)!r}, 'w')")
    with refused("incompatible_model", f"{checkpoint} brings its own code, {place}"):
        load_folder(checkpoint)
    assert not mark.exists()


def test_code_that_a_checkpoint_links_to_is_refused_and_never_run(checkpoint, tmp_path):
    mark = leave_a_mark(tmp_path, tmp_path, "elsewhere", ".")
    (checkpoint / "None.py").symlink_to(tmp_path / "elsewhere.py")
    with refused("incompatible_model", f"{checkpoint} brings its own code, None.py"):
        load_folder(checkpoint)
    assert not mark.exists()


def test_code_in_a_part_whose_folder_is_a_link_is_refused_and_never_run(checkpoint, tmp_path):
    mark = leave_a_mark(checkpoint, tmp_path, "diffusers", "unet")
    (checkpoint / "unet").rename(tmp_path / "unet")
    (checkpoint / "unet").symlink_to(tmp_path / "unet")
    with refused("incompatible_model", f"{checkpoint} brings its own code, unet/diffusers.py"):
        load_folder(checkpoint)
    assert not mark.exists()


def test_links_of_folders_in_a_circle_are_not_followed(checkpoint):
    (checkpoint / "unet" / "again").symlink_to(checkpoint)
    assert load_folder(checkpoint).pipeline.text_encoder is None


def test_a_folder_of_more_than_a_checkpoint_is_refused(checkpoint, monkeypatch):
    monkeypatch.setattr(parts, "MAX_ENTRIES", 10)
    with refused("incompatible_model", "more than 10 files"):
        load_folder(checkpoint)


def test_a_pipeline_class_of_the_checkpoints_own_is_never_run(checkpoint, tmp_path):
    mark = tmp_path / "imported"
    (checkpoint / "pipeline.py").write_text(f"open({str(mark)!r}, 'w')")
    (checkpoint / "mine.py").write_text(f"open({str(mark)!r}, 'w')")
    change_index(checkpoint, _class_name=["mine", "Mine"])
    with refused("incompatible_model", f"{checkpoint} names no pipeline: .*mine"):
        load_folder(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize("part", ["unet", "text_encoder", "tokenizer"])
def test_an_auto_map_is_never_followed(checkpoint, part):
    name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
    config = checkpoint / part / name
    classes = dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer"), "mine.Mine")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": classes}))
    # What is followed would be missed.
    assert load_folder(checkpoint).pipeline.text_encoder is None


def test_pickles_beside_the_weights_are_never_opened(checkpoint, tmp_path):
    for part, name in WEIGHTS.items():
        for other in (f"{name}.bin", "pytorch_model.bin", "model.ckpt", "model.pt", "model.pth"):
            torch.save({"mine": Mine(tmp_path / "opened")}, checkpoint / part / other)
    torch.save({"mine": Mine(tmp_path / "opened")}, checkpoint / "model.ckpt")
    assert load_folder(checkpoint).pipeline.unet is not None
    assert not (tmp_path / "opened").exists()


def safetensors(header, data=b"", length=None):
    """A file of that header; `length` is what it says of its own."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(shape, offsets, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize("part", WEIGHTS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\0\0",
        safetensors(b"{}", length=2**63),
        safetensors(b"{}", length=2**40),
        safetensors(b"{}", length=3),
        safetensors(b"[]"),
        safetensors(b"{" * 100_000),
        safetensors(b" " * 1000),
        safetensors({"conv_in.weight": tensor([2**40, 2**40], [0, 8])}, bytes(8)),
        safetensors({"conv_in.weight": tensor([2], [0, 2**50])}, bytes(8)),
        safetensors({"conv_in.weight": tensor([2], [8, 0])}, bytes(8)),
        safetensors({"conv_in.weight": tensor([-1], [0, 8])}, bytes(8)),
        safetensors({"a": tensor([2], [0, 8]), "b": tensor([2], [0, 8])}, bytes(8)),
        safetensors({"conv_in.weight": tensor([2], [0, 8], "PICKLE")}, bytes(8)),
        safetensors({"conv_in.weight": tensor([2], [0, 8])}, bytes(800)),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_weights_whose_header_lies_are_refused_with_the_folder(checkpoint, part, content):
    (checkpoint / part / f"{WEIGHTS[part]}.safetensors").write_bytes(content)
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"block_out_channels": "many"}),
        ("vae", {"norm_num_groups": 0}),
        ("unet", {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}),
        ("unet", {"quantization_config": {"quant_method": "gguf"}}),
        ("text_encoder", {"vocab_size": -3}),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_refused(checkpoint, part, changes):
    config = checkpoint / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with refused("incompatible_model", str(checkpoint)):
        load_folder(checkpoint)


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("unet", {"block_out_channels": [2**40] * 3}),
        ("vae", {"latent_channels": 2**31}),
        ("text_encoder", {"hidden_size": 2**40}),
    ],
    ids=str,
)
def test_a_configuration_that_nothing_could_hold_is_out_of_memory(checkpoint, part, changes):
    config = checkpoint / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    with pytest.raises(RuntimeError, check=is_out_of_memory):
        load_folder(checkpoint)
