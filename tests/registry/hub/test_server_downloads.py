"""Downloads from the stand-in Hub, whole and by range, on good days and on bad ones."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.hub import Cut, Flip, Hang, HubServer, Slow, Status, Truncate
from helpers.hub_walks import REPO, WEIGHTS, Upload, download

huggingface_hub = pytest.importorskip("huggingface_hub")

from huggingface_hub import HfApi, errors  # noqa: E402


def test_snapshot_is_complete_and_asked_for_once(hub: HubServer, upload: Upload) -> None:
    sha = upload({"a.txt": b"a", "data/b.safetensors": WEIGHTS})
    folder = Path(huggingface_hub.snapshot_download(REPO, repo_type="dataset", revision=sha, max_workers=1))
    assert (folder / "data/b.safetensors").read_bytes() == WEIGHTS
    assert folder.is_relative_to(hub.root / "client")
    assert hub.bytes_sent > len(WEIGHTS)
    hub.forget()
    assert download("data/b.safetensors", sha) == WEIGHTS
    assert hub.calls() == []


def test_storage_is_another_origin_and_sees_no_token(hub: HubServer, upload: Upload) -> None:
    sha = upload({"b.safetensors": WEIGHTS})
    url = huggingface_hub.hf_hub_url(REPO, "b.safetensors", repo_type="dataset", revision=sha)
    metadata = huggingface_hub.get_hf_file_metadata(url)
    assert metadata.location.startswith(hub.storage_url)
    assert (metadata.commit_hash, metadata.size, len(metadata.etag)) == (sha, len(WEIGHTS), 64)


def test_names_with_odd_characters_survive(hub: HubServer, upload: Upload) -> None:
    sha = upload({"a b/ü #1?.txt": b"text", "a b/ü #2%20.png": b"picture"})
    assert download("a b/ü #1?.txt", sha) == b"text"
    assert download("a b/ü #2%20.png", sha) == b"picture"


def test_safetensors_header_is_read_by_range(api: HfApi, hub: HubServer, upload: Upload) -> None:
    upload({"model.safetensors": WEIGHTS})
    hub.forget()
    metadata = api.get_safetensors_metadata(REPO, repo_type="dataset")
    assert metadata.files_metadata["model.safetensors"].tensors["policy"].shape == [30_000]
    assert hub.calls("^GET /lfs-objects/")[0].status == 206
    assert hub.bytes_sent < len(WEIGHTS)
    assert api.parse_safetensors_file_metadata(REPO, "model.safetensors", repo_type="dataset").parameter_count


def test_range_beyond_the_end_is_refused(hub: HubServer, upload: Upload) -> None:
    upload({"a.txt": b"abc"})
    session, url = huggingface_hub.get_session(), f"{hub.url}/datasets/{REPO}/resolve/main/a.txt"
    answers = {text: session.get(url, headers={"Range": text}) for text in ("bytes=1-", "bytes=-1", "bytes=3-")}
    assert [(reply.status_code, reply.text) for reply in answers.values()] == [(206, "bc"), (206, "c"), (416, "")]
    assert answers["bytes=3-"].headers["Content-Range"] == "bytes */3"


@pytest.mark.parametrize("remote", [False, True])
def test_parquet_index_loads_with_datasets(upload: Upload, hub: HubServer, remote: bool) -> None:
    datasets = pytest.importorskip("datasets")
    table = pa.table({"trial": [0, 1], "split": ["train", "test"]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    card = b"---\nconfigs:\n- config_name: index\n  data_files: index.parquet\n---\n"
    sha = upload({"README.md": card, "index.parquet": sink.getvalue().to_pybytes()})
    loaded = datasets.load_dataset(REPO, "index", revision=sha, streaming=remote)
    assert [row["split"] for row in loaded["train"]] == ["train", "test"]
    assert (hub.root / "client/datasets").exists() or remote


# Faults


def test_rate_limit_is_waited_out(api: HfApi, hub: HubServer, no_waiting: list[float]) -> None:
    hub.faults.add("GET .*/tree/", Status(429, retry_after=7), times=2)
    assert [item.path for item in api.list_repo_tree(REPO, repo_type="dataset")] == [".gitattributes"]
    assert no_waiting == [8.0, 8.0]
    assert [call.status for call in hub.calls("GET .*/tree/")] == [429, 429, 200]


def test_server_error_on_an_upload_is_retried(hub: HubServer, upload: Upload, no_waiting: list[float]) -> None:
    hub.faults.add("PUT /lfs-objects/", Status(503), times=1)
    upload({"a.safetensors": WEIGHTS})
    assert [call.status for call in hub.calls("PUT")] == [503, 200]


def test_download_resumes_after_a_cut(
    hub: HubServer, upload: Upload, no_waiting: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = upload({"a.safetensors": WEIGHTS})
    # The client keeps whole chunks only: at its usual 10 MB it would start this file anew.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.faults.add(r"GET /lfs-objects/.*a\.safetensors", Cut(after=100_000), times=1)
    hub.forget()
    assert download("a.safetensors", sha) == WEIGHTS
    assert [call.status for call in hub.calls("GET /lfs-objects/")] == [200, 206]
    assert len(no_waiting) == 1
    assert hub.bytes_sent < 1.5 * len(WEIGHTS)


def test_truncated_body_is_noticed_by_its_size(hub: HubServer, upload: Upload, no_waiting: list[float]) -> None:
    sha = upload({"a.safetensors": WEIGHTS})
    hub.faults.add("GET /lfs-objects/", Truncate(to=500))
    with pytest.raises(OSError, match="Consistency check failed"):
        download("a.safetensors", sha)


def test_flipped_byte_is_not_noticed_by_the_client(hub: HubServer, upload: Upload) -> None:
    sha = upload({"a.safetensors": WEIGHTS})
    hub.faults.add("GET /lfs-objects/", Flip(at=70_000), times=1)
    content = download("a.safetensors", sha)
    assert [index for index in range(len(WEIGHTS)) if content[index] != WEIGHTS[index]] == [70_000]


def test_client_gives_up_on_a_silent_server_and_bears_with_a_slow_one(hub: HubServer, upload: Upload) -> None:
    sha = upload({"a.txt": b"abc"})
    hub.faults.add("HEAD .*/resolve/", Hang(), times=1)
    hub.faults.add("GET .*/resolve/", Slow(delay=0.01, chunk=1))
    assert download("a.txt", sha, etag_timeout=0.1) == b"abc"
    assert len(hub.calls("^GET .*/resolve/")) == 1


def test_fault_can_wait_for_its_turn(hub: HubServer) -> None:
    hub.faults.add("GET /api/whoami-v2", Status(500), skip=1, times=1)
    statuses = [
        huggingface_hub.get_session().get(f"{hub.url}/api/whoami-v2", headers={"Authorization": "Bearer hf_bob"})
        for _ in range(3)
    ]
    assert [reply.status_code for reply in statuses] == [200, 500, 200]


def test_closed_server_cannot_be_reached(hub: HubServer, upload: Upload, no_waiting: list[float]) -> None:
    sha = upload({"a.txt": b"a"})
    hub.close()
    with pytest.raises(errors.LocalEntryNotFoundError):
        download("a.txt", sha)


# Edits that no client could make


def test_hostile_edits_are_served_as_they_are(api: HfApi, hub: HubServer, upload: Upload) -> None:
    first = upload({"a.safetensors": WEIGHTS})
    api.create_tag(REPO, tag="v1", repo_type="dataset")
    repository = hub.repository(REPO)
    second = repository.write({"../outside.txt": b"x", "b.txt": b"b", ".gitattributes": None}, "Hostile")
    repository.move_tag("v1", second)
    assert api.dataset_info(REPO, revision="v1").sha == second
    assert "../outside.txt" in api.list_repo_files(REPO, repo_type="dataset")
    repository.symlink("link", "/etc/passwd")
    assert repository.entries(repository.resolve("main"))["link"].mode == "120000"
    repository.corrupt("a.safetensors", offset=3)
    content = download("a.safetensors", first)
    assert content != WEIGHTS
    assert content[4:] == WEIGHTS[4:]
    repository.write({"c.safetensors": b"not a pointer"}, raw=True)
    assert download("c.safetensors") == b"not a pointer"
