"""The Hugging Face Hub, played by a small server on this machine that speaks its protocol."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading

import pytest

from llm4seg_probe.config import BoosterConfig
from llm4seg_probe.errors import SourceError
from llm4seg_probe.llm.catalogue import fetch_source, list_sources, show_source
from llm4seg_probe.llm.decoder import load_decoder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves folders as models, and keeps what was downloaded."""

    def __init__(self, folders, gated=()):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folders, self.gated, self.downloads = folders, gated, []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        organisation, model, _, _, file = self.path.lstrip("/").split("/", 4)
        name = f"{organisation}/{model}"
        if name in self.server.gated and file != "config.json":
            return self.refuse(403, "GatedRepo")
        if name not in self.server.folders:
            return self.refuse(401, "RepoNotFound")
        path = self.server.folders[name] / file
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.server.downloads.append(file)
            self.wfile.write(content)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def hub(model_folder, tmp_path, monkeypatch):
    from huggingface_hub import constants

    server = Hub(
        {
            "org/tiny": model_folder("llama", sharded=True),
            "org/single": model_folder("llama"),
            "org/gated": model_folder("llama"),
        },
        gated={"org/gated"},
    )
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        constants.ENDPOINT + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def load(source, layer=2, **fields):
    return load_decoder(BoosterConfig(source=source, layer=layer, **fields))


def test_only_config_index_and_the_shards_of_the_layer_are_fetched(hub, model_folder):
    folder = model_folder("llama", sharded=True)
    decoder = load("org/tiny", layer=2)
    assert decoder.identity.source == "org/tiny"
    assert decoder.identity.sha256 == load(str(folder), layer=2).identity.sha256
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    shards = {file for name, file in index.items() if name.startswith("model.layers.1.")}
    assert set(hub.downloads) == {"config.json", "model.safetensors.index.json", *shards}
    assert shards < set(index.values())

    again = len(hub.downloads)
    load("org/tiny", layer=2)
    assert len(hub.downloads) == again


def test_a_random_layer_needs_the_config_alone(hub):
    load_decoder(BoosterConfig(source="org/tiny", layer=2), weights="random")
    assert hub.downloads == ["config.json"]


def test_what_was_fetched_once_is_used_without_asking_the_hub(hub, monkeypatch):
    from huggingface_hub import constants

    expected = load("org/tiny").identity
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("org/tiny").identity == expected
    with pytest.raises(
        SourceError, match=r"org/tiny: model-\d.* is not in the cache and could not"
    ):
        load("org/tiny", layer=1)


def test_a_model_in_one_file_that_was_fetched_works_offline(hub, monkeypatch):
    from huggingface_hub import constants

    expected = load("org/single").identity
    assert hub.downloads == ["config.json", "model.safetensors"]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load("org/single", layer=2).identity == expected


def test_a_hub_that_does_not_answer_is_said(hub):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(SourceError, match=r"org/tiny: config\.json is not in the cache and c"):
        load("org/tiny")


def test_a_gated_model_says_how_to_get_access(hub):
    with pytest.raises(SourceError) as caught:
        load("org/gated")
    assert str(caught.value) == (
        "org/gated is gated: accept its licence at https://huggingface.co/org/gated, then log in "
        "with `hf auth login` (or set HF_TOKEN)"
    )


def test_a_model_that_is_not_there(hub):
    with pytest.raises(SourceError, match="the Hub has no model org/nothing, or it is private"):
        load("org/nothing")


def test_showing_fetches_no_weights_and_hashes_what_is_here(hub):
    shown = show_source("org/tiny")
    assert set(hub.downloads) <= {"config.json", "model.safetensors.index.json"}
    assert [layer.sha256 for layer in shown.layers] == [None, None, None]
    expected = load("org/tiny", layer=2).identity.sha256
    assert show_source("org/tiny").layers[1].sha256 == expected
    assert show_source("org/tiny").layers[2].sha256 is None


def test_fetching_brings_the_wanted_layers_or_all(hub):
    folder = fetch_source("org/tiny", [-1])
    assert folder == fetch_source("org/tiny")
    hub.shutdown()
    hub.server_close()
    assert [layer.sha256 is not None for layer in show_source("org/tiny").layers] == [True] * 3


def test_the_list_says_what_is_cached_without_a_network(hub):
    listed = {source.name: source for source in list_sources()}
    assert not any(source.cached for source in listed.values() if source.kind == "hub")
    assert listed["meta-llama/Llama-3.2-1B"].gated
    assert (listed["smollm2-135m"].layers, listed["smollm2-135m"].width) == (30, 576)
    assert hub.downloads == []
