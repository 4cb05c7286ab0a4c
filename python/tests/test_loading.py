"""loading: upstream's code, then the checkpoint, and what each of them can lack."""

import json
import shutil
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import huggingface_hub.constants
import pytest
import torch
from conftest import CHECKPOINT, Worker, load_request, load_stages, of_kind
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lotus_worker.errors import WorkerError
from lotus_worker.loading import (
    find_checkpoint,
    import_upstream,
    load,
    pick_device,
    pick_dtype,
)
from lotus_worker.protocol import Error, Loading, Ready
from lotus_worker.stages import LOAD_STAGES

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


CALL = "def __call__(self, rgb_in, task_emb, prompt_embeds, timesteps, output_type"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "no pipeline.py in {root}"),
        ("import no_such_package", "{root}: ModuleNotFoundError: .*no_such_package"),
        ("1 / 0", "{root}: ZeroDivisionError"),
        ("def f(:", "{root}: SyntaxError"),
        ("class LotusGPipeline: pass", "{root}: AttributeError: .*LotusDPipeline"),
        (
            f"class LotusDPipeline:\n    {CALL}, processing_res): pass",
            "{root} does not take match_input_res, resample_method",
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
        " resample_method, more=None): pass"
    )
    try:
        assert import_upstream(tmp_path).name == "of the checkout"
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


def test_a_folder_has_no_revision():
    assert find_checkpoint(str(CHECKPOINT), None) == (CHECKPOINT, None)


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


def save_unet(make_checkpoint, checkpoint, **config):
    """Put a UNet of another configuration into a checkpoint."""
    unet = UNet2DConditionModel.from_config(make_checkpoint.make_unet().config, **config)
    assert isinstance(unet, UNet2DConditionModel)
    unet.save_pretrained(checkpoint / "unet")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"in_channels": 8}, "generation model .Lotus-G."),
        ({"in_channels": 5}, "5 input channels, not 4"),
        (
            {"class_embed_type": None, "projection_class_embeddings_input_dim": None},
            "task embedding",
        ),
        ({"projection_class_embeddings_input_dim": 6}, "task embedding"),
    ],
)
def test_a_unet_that_is_not_lotus_ds_is_refused(make_checkpoint, checkpoint, config, message):
    save_unet(make_checkpoint, checkpoint, **config)
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


# --- the hub

REPOSITORY = "somebody/lotus-depth-d"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REVISIONS = {"main", "v2", COMMIT}
UNWANTED = {
    "README.md": b"# read me",
    "pytorch_model.bin": b"a pickle",
    "unet/diffusion_pytorch_model.bin": b"a pickle",
    "example.png": b"a picture",
}


class Hub:
    """As much of the Hugging Face hub as snapshot_download asks for, on the loopback."""

    def __init__(self) -> None:
        self.files = UNWANTED | {
            str(path.relative_to(CHECKPOINT)): path.read_bytes()
            for path in CHECKPOINT.rglob("*")
            if path.is_file()
        }
        self.requested: set[str] = set()  # the files whose content was asked for
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        api, gated = f"/api/models/{REPOSITORY}/revision/", "/api/models/somebody/gated/"
        files = f"/{REPOSITORY}/resolve/{COMMIT}/"
        if path.startswith(gated):
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if path.startswith(api):
            if path.removeprefix(api) not in REVISIONS:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b""
            siblings = [{"rfilename": name} for name in self.files]
            body = {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings}
            return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()
        if path.startswith(files):
            name = path.removeprefix(files)
            self.requested.add(name)
            # Not a secure hash but a name for the content: the hub's own are opaque as well.
            etag = f'"{len(self.files[name])}-{name.replace("/", "-")}"'
            return 200, {"X-Repo-Commit": COMMIT, "ETag": etag}, self.files[name]
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                status, headers, body = hub.answer(urlsplit(self.path).path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_GET = do_HEAD  # noqa: N815

            def log_message(self, format, *args):
                """Say nothing."""

        return Handler


def hub_environment(url, home):
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    """A conversation with a worker that loads from the hub, with failures first.

    Returns:
        The replies by what was asked for, the hub, and the folder of its cache.
    """
    home, hub = tmp_path_factory.mktemp("hub"), Hub()
    asked = {
        "missing": load_request("somebody/missing"),
        "gated": load_request("somebody/gated"),
        "unknown revision": load_request(REPOSITORY, revision="v3"),
        "downloaded": load_request(REPOSITORY, revision="v2"),
    }
    try:
        with Worker(**hub_environment(hub.url, home)) as worker:
            replies = {name: worker.ask(load, Ready, Error) for name, load in asked.items()}
    finally:
        hub.close()
    return replies, hub, home / "hub"


def test_a_checkpoint_is_downloaded_and_its_revision_is_the_commit(download):
    replies, _, _ = download
    ready = replies["downloaded"]
    assert isinstance(ready, Ready)
    assert (ready.model, ready.revision) == (REPOSITORY, COMMIT)


def test_nothing_but_safetensors_json_and_text_is_downloaded(download):
    _, hub, _ = download
    assert hub.requested == hub.files.keys() - UNWANTED.keys()
    assert {Path(name).suffix for name in hub.requested} == {".safetensors", ".json", ".txt"}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("missing", ["somebody/missing", "MODEL_ID"]),
        ("gated", ["somebody/gated", "HF_TOKEN"]),
        ("unknown revision", [REPOSITORY, "v3", "MODEL_REVISION"]),
    ],
)
def test_a_model_that_the_hub_does_not_give_is_not_found_and_named(download, asked, named):
    replies, _, _ = download
    error = replies[asked]
    assert (error.code, error.healthy) == ("model_not_found", True)
    assert all(name in error.message for name in named), error.message


def test_a_model_that_was_downloaded_is_found_offline(download, monkeypatch):
    _, hub, cache = download
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    folder, revision = find_checkpoint(REPOSITORY, "v2")
    assert revision == COMMIT
    assert folder.is_relative_to(cache)
    got = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert got == hub.requested


def test_a_model_that_was_not_downloaded_is_not_found_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with refused("model_not_found", "cannot download somebody/else.*path of a checkpoint folder"):
        find_checkpoint("somebody/else", None)


@pytest.mark.parametrize("model", ["a/b/c", "no spaces please", "../elsewhere", "-x", ""])
def test_a_name_that_is_no_hub_id_is_not_found(model):
    with refused("model_not_found", "MODEL_ID"):
        find_checkpoint(model, None)


def test_a_hub_that_cannot_be_reached_is_not_found_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Worker(**hub_environment(url, tmp_path)) as worker:
            worker.send(load_request(REPOSITORY))
            replies = worker.receive_until(Ready, Error)
    assert [loading.stage for loading in of_kind(Loading, replies)] == ["imports", "weights"]
    (error,) = of_kind(Error, replies)
    assert (error.code, error.healthy) == ("model_not_found", True)
    for word in (REPOSITORY, "network", "MODEL_ID"):
        assert word in error.message
