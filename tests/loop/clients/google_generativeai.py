"""google-generativeai as tuning scripts use it, over REST or over gRPC: what TRANSPORT says."""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google.generativeai as genai
from google.api_core import exceptions
from google.generativeai import client, permission, protos
from googleapiclient.discovery import build_from_document
from googleapiclient.errors import ResumableUploadError
from googleapiclient.http import MediaFileUpload

ADDRESS = os.environ["KAMERTON_ENDPOINT"]
TRANSPORT = os.environ["TRANSPORT"]
REST = TRANSPORT == "rest"
ENDPOINT = ADDRESS if REST else os.environ["GRPC_ENDPOINT"]
KEY, OTHER_KEY = os.environ["KAMERTON_API_KEY"], os.environ["OTHER_KEY"]
OWNER, OTHER = os.environ["OWNER"], os.environ["OTHER"]
NUMBERS = Path(__file__).with_name("numbers.json")
PAIRS = [("1", "2"), ("seven", "eight")]
BASE = "models/gemini-1.0-pro-001"
BAD_REQUEST = exceptions.BadRequest if REST else exceptions.InvalidArgument
PRECONDITION = exceptions.BadRequest if REST else exceptions.FailedPrecondition
FORBIDDEN = exceptions.Forbidden if REST else exceptions.PermissionDenied
CONFLICT = exceptions.Conflict if REST else exceptions.AlreadyExists
"""What the SDK's documentation names, by transport."""

client.GENAI_API_DISCOVERY_URL = f"{ADDRESS}/$discovery/rest"


def _configure(key: str) -> None:
    genai.configure(api_key=key, transport=TRANSPORT, client_options={"api_endpoint": ENDPOINT})


_configure(KEY)


@contextmanager
def _as(key: str) -> Iterator[None]:
    _configure(key)
    try:
        yield
    finally:
        _configure(KEY)


@contextmanager
def _raises(kind: type[Exception], *words: str) -> Iterator[None]:
    """The very class, none above or below it."""
    try:
        yield
    except Exception as error:
        assert type(error) is kind, repr(error)
        assert all(word in str(error) for word in words), error
    else:
        raise AssertionError(f"no {kind.__name__} was raised")


def _create(**more: Any) -> Any:
    """The operation of a run; of a single step, unless `more` says otherwise."""
    data = {"source_model": BASE, "training_data": PAIRS, "epoch_count": 1, **more}
    return genai.create_tuned_model(**data)


def _ended(operation: Any) -> Any:
    """Without the pauses that `result()` makes."""
    while not operation.done():
        time.sleep(0.05)
    return operation.result()


@functools.cache
def _tuned() -> str:
    """The name of a model tuned as in the tutorial."""
    run = {"epoch_count": 5, "batch_size": 4, "learning_rate": 0.001}
    return str(_ended(_create(display_name="increment", training_data=NUMBERS, **run)).name)


def _exact(name: str) -> Any:
    return genai.GenerativeModel(name, generation_config={"temperature": 0})


def list_and_get_models() -> None:
    models = list(genai.list_models())
    tunable = [m for m in models if "createTunedModel" in m.supported_generation_methods]
    assert "models/kamerton-nano-001" in [model.name for model in tunable]
    assert all(model.input_token_limit > 0 and model.display_name for model in models)
    assert genai.get_model(BASE).name == BASE
    assert genai.get_base_model("models/kamerton-nano-001").output_token_limit > 0
    assert genai.get_model(_tuned()).base_model == BASE
    with _raises(exceptions.NotFound, "models/nothing"):
        genai.get_model("models/nothing")


def training_data_in_every_form() -> None:
    rows = [{"text_input": text, "output": output} for text, output in PAIRS]
    columns = {"in": ["1", "seven"], "out": ["2", "eight"]}
    dataset = protos.Dataset(examples=protos.TuningExamples(examples=rows))
    with tempfile.TemporaryDirectory() as folder:
        table, objects = Path(folder) / "table.csv", Path(folder) / "objects.json"
        with table.open("w", newline="") as file:
            csv.writer(file).writerows([("text_input", "output"), *PAIRS])
        objects.write_text(json.dumps(rows))
        forms: list[Any] = [rows, PAIRS, dataset, table, str(objects), objects.as_uri()]
        operations = [_create(training_data=form, epoch_count=3, batch_size=2) for form in forms]
    keys = {"input_key": "in", "output_key": "out"}
    operations.append(_create(training_data=columns, epoch_count=3, batch_size=2, **keys))
    for operation in operations:
        assert operation.metadata.total_steps == 3
        genai.delete_tuned_model(operation.metadata.tuned_model)


def wait_bar() -> None:
    operation = _create(epoch_count=30, batch_size=1, display_name="bar")
    assert operation.metadata.completed_steps == 0
    steps = [status.completed_steps for status in operation.wait_bar()]
    assert steps == sorted(steps)
    assert len(set(steps)) > 2, "progress was never seen"
    metadata = operation.metadata
    assert metadata.completed_steps == metadata.total_steps == 60
    assert metadata.completed_percent == 100
    ends = [(metadata.snapshots[at].step, metadata.snapshots[at].epoch) for at in (0, -1)]
    assert ends == [(1, 1), (60, 30)]
    assert operation.result().name == metadata.tuned_model


def result_and_get_operation() -> None:
    operation = _create()
    assert operation.result(timeout=60).state.name == "ACTIVE"
    again = genai.get_operation(operation.name)
    again.update()
    assert again.done() and not again.cancelled()
    assert again.metadata == operation.metadata
    again.cancel()  # What has ended stays as it is.
    assert again.result().name == operation.result().name


def list_operations() -> None:
    if REST:  # The SDK refuses to send an empty name.
        with _raises(ValueError):
            list(genai.list_operations())
    else:
        names = [operation.name for operation in genai.list_operations()]
        assert any(name.startswith(f"{_tuned()}/operations/") for name in names)


def cancel_and_delete_what_failed() -> None:
    operation = _create(epoch_count=1000, batch_size=1)
    operation.cancel()
    with _raises(exceptions.Cancelled):
        _ended(operation)
    assert operation.cancelled()
    from google.rpc import error_details_pb2  # Only now: the SDK has read it by itself.

    (detail,), info = operation.operation.error.details, error_details_pb2.ErrorInfo()
    assert detail.Unpack(info) and (info.reason, info.domain) == ("CANCELLED", "kamerton")
    name = operation.metadata.tuned_model
    with _raises(PRECONDITION, "FAILED"):
        genai.GenerativeModel(name).generate_content("1")
    failed = [m.name for m in genai.list_tuned_models() if m.state.name == "FAILED"]
    assert name in failed
    genai.delete_tuned_model(name)
    assert name not in [model.name for model in genai.list_tuned_models()]
    with _raises(exceptions.NotFound):
        genai.get_operation(operation.name)


def delete_while_training() -> None:
    operation = _create(epoch_count=1000, batch_size=1, id="short-lived")
    genai.delete_tuned_model("tunedModels/short-lived")
    genai.delete_tuned_model(_create(id="short-lived").metadata.tuned_model)
    with _raises(exceptions.NotFound):
        genai.get_operation(operation.name)


def get_tuned_model() -> None:
    model = genai.get_tuned_model(_tuned())
    assert model.display_name == "increment"
    assert model.source_model == model.base_model == BASE
    assert (model.temperature, model.top_k) == (1, 64)
    task = model.tuning_task
    assert task.start_time < task.complete_time
    found = task.hyperparameters
    assert (found.epoch_count, found.batch_size, found.learning_rate) == (5, 4, 0.001)
    assert [snapshot["step"] for snapshot in task.snapshots] == list(range(1, 20))
    assert all(snapshot["mean_loss"] > 0 for snapshot in task.snapshots)
    assert task.snapshots[-1]["epoch"] == 5


def list_tuned_models() -> None:
    everything = [model.name for model in genai.list_tuned_models(page_size=1000)]
    assert _tuned() in everything
    one_by_one = [model.name for model in genai.list_tuned_models(page_size=1)]
    assert set(one_by_one) >= set(everything)
    assert len(one_by_one) == len(set(one_by_one))


def update_tuned_model() -> None:
    name = _create(display_name="before").metadata.tuned_model
    changes = {"display_name": "after", "description": "changed"}
    assert genai.update_tuned_model(name, changes).display_name == "after"
    found = client.get_default_model_client().get_tuned_model(name=name)
    assert found.description == "changed"
    found.description = ""
    found.temperature = 0.5
    genai.update_tuned_model(found)
    model = genai.get_tuned_model(name)
    assert (model.display_name, model.description, model.temperature) == ("after", "", 0.5)
    with _raises(BAD_REQUEST, "state"):
        genai.update_tuned_model(name, {"state": 3})
    genai.delete_tuned_model(name)


def continue_from_a_tuned_model() -> None:
    model = _ended(_create(source_model=_tuned()))
    assert model.source_model == _tuned()
    assert model.base_model == BASE
    assert _exact(model.name).generate_content("LXIII").text == "LXIV"
    genai.delete_tuned_model(model.name)


def generate_content() -> None:
    response = _exact(_tuned()).generate_content("LXIII")
    assert response.text == "LXIV"
    assert response.candidates[0].finish_reason.name == "STOP"
    assert len(response.candidates[0].safety_ratings) == 4
    assert len(response.prompt_feedback.safety_ratings) == 4
    usage = response.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    config = genai.types.GenerationConfig(
        temperature=0.9, top_p=0.9, top_k=20, candidate_count=2, max_output_tokens=1
    )
    response = genai.GenerativeModel("gemini-1.5-pro").generate_content(
        "1", generation_config=config
    )
    assert len(response.candidates) == 2
    assert response.candidates[0].finish_reason.name == "MAX_TOKENS"
    config = {"temperature": 0, "stop_sequences": [" "]}
    response = genai.GenerativeModel(_tuned()).generate_content(
        "thirteen", generation_config=config
    )
    assert " " not in response.text


def stream() -> None:
    question = "one thousand nine hundred ninety nine"
    response = _exact(_tuned()).generate_content(question, stream=True)
    pieces = [chunk.text for chunk in response]
    assert "".join(pieces) == response.text == "two thousand"
    assert len(pieces) > 1
    assert response.usage_metadata.candidates_token_count > 0


def chat() -> None:
    shots = [{"role": "user", "parts": ["5"]}, {"role": "model", "parts": ["6"]}]
    talk = genai.GenerativeModel(_tuned(), system_instruction="Count.").start_chat(history=shots)
    assert talk.send_message("8").text
    assert "".join(chunk.text for chunk in talk.send_message("9", stream=True))
    assert [content.role for content in talk.history] == ["user", "model"] * 3


def count_tokens() -> None:
    base = genai.GenerativeModel(BASE)
    used = base.generate_content("LXIII").usage_metadata.prompt_token_count
    assert base.count_tokens("LXIII").total_tokens == used
    tuned = genai.GenerativeModel(_tuned())
    if REST:  # The SDK refuses to send it.
        with _raises(ValueError):
            tuned.count_tokens("LXIII")
    else:
        used = tuned.generate_content("LXIII").usage_metadata.prompt_token_count
        assert tuned.count_tokens("LXIII").total_tokens == used


def files() -> None:
    sent = genai.upload_file(NUMBERS, name="numbers-1", display_name="numbers")
    size = NUMBERS.stat().st_size
    assert (sent.name, sent.display_name) == ("files/numbers-1", "numbers")
    assert (sent.mime_type, sent.size_bytes) == ("application/json", size)
    assert sent.state.name == "ACTIVE"
    assert sent.uri == f"{ADDRESS}/v1beta/files/numbers-1"
    assert (sent.expiration_time - sent.create_time).total_seconds() == 48 * 3600
    assert genai.get_file("numbers-1").to_dict() == sent.to_dict()
    with _raises(ResumableUploadError, "409"):
        genai.upload_file(NUMBERS, name="numbers-1")
    whole = genai.upload_file(NUMBERS, resumable=False)
    assert (whole.size_bytes, whole.sha256_hash) == (size, sent.sha256_hash)
    stream = io.BytesIO(b'{"text_input": "1", "output": "2"}\n')
    lines = genai.upload_file(stream, mime_type="application/jsonl")
    empty = genai.upload_file(io.BytesIO(), mime_type="text/plain")
    assert (lines.size_bytes, empty.size_bytes) == (35, 0)
    uploaded = [sent, whole, lines, empty]
    names = {file.name for file in uploaded}
    for page_size in (100, 1):
        assert names <= {file.name for file in genai.list_files(page_size)}
    for file in uploaded:
        genai.delete_file(file)
    assert not names & {file.name for file in genai.list_files()}
    with _raises(exceptions.NotFound):
        genai.get_file("numbers-1")


def upload_in_pieces() -> None:
    """As googleapiclient sends what is larger than its pieces."""
    with urllib.request.urlopen(f"{ADDRESS}/$discovery/rest?version=v1beta") as answer:
        service = build_from_document(answer.read().decode(), developerKey=KEY)
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"0123456789" * 78_000)
        file.flush()
        media = MediaFileUpload(file.name, chunksize=256 * 1024, resumable=True)
        request = service.media().upload(body={"file": {}}, media_body=media)
        response, progress = None, []
        while response is None:
            status, response = request.next_chunk()
            progress.append(status and status.resumable_progress)
    assert progress == [262144, 524288, None]
    assert response["file"]["sizeBytes"] == "780000"
    genai.delete_file(response["file"]["name"])


def permissions() -> None:
    """Each is in force with the next request."""
    name = _create(id="shared").metadata.tuned_model
    mine = genai.get_tuned_model(name)
    (own,) = mine.permissions
    assert (own.role.name, own.email_address) == ("OWNER", OWNER)
    assert _refused(name)
    given = mine.permissions.create("READER", email_address=OTHER)
    assert (given.role.name, given.grantee_type.name) == ("READER", "USER")
    with _as(OTHER_KEY):
        assert name in [model.name for model in genai.list_tuned_models()]
        with _raises(FORBIDDEN):
            genai.update_tuned_model(name, {"description": "mine"})
    given.update({"role": "WRITER"})
    with _as(OTHER_KEY):
        assert genai.update_tuned_model(name, {"description": "ours"}).description == "ours"
        with _raises(FORBIDDEN):
            genai.delete_tuned_model(name)
    assert permission.get_permission(given.name).role.name == "WRITER"
    group = mine.permissions.create("READER", "GROUP", "all@googlegroups.com")
    assert len(list(mine.permissions.list(page_size=1))) == 3
    given.delete()
    group.delete()
    assert _refused(name)
    everyone = mine.permissions.create("READER", "EVERYONE")
    assert not _refused(name)
    everyone.delete()
    with _raises(PRECONDITION):
        own.delete()
    genai.delete_tuned_model(name)


def _refused(name: str) -> bool:
    """Does the server refuse the model to the other caller?"""
    with _as(OTHER_KEY):
        try:
            genai.get_tuned_model(name)
        except FORBIDDEN:
            return True
    return False


def transfer_ownership() -> None:
    with _as(OTHER_KEY):
        model = genai.get_tuned_model(_create(id="handed-over").metadata.tuned_model)
        model.permissions.transfer_ownership(OWNER)
        roles = {grant.email_address: grant.role.name for grant in model.permissions}
        assert roles == {OWNER: "OWNER", OTHER: "WRITER"}
        with _raises(FORBIDDEN):
            genai.delete_tuned_model(model.name)
    genai.delete_tuned_model(model.name)


def errors() -> None:
    with _raises(BAD_REQUEST, "epoch_count"):
        _create(epoch_count=100_000)
    with _raises(BAD_REQUEST, "tuned_model_id"):
        _create(id="Not-Allowed")
    with _raises(BAD_REQUEST, "examples[0].text_input", "examples[2].output"):
        _create(training_data=[("", "2"), ("3", "4"), ("5", "")])
    with _raises(CONFLICT):
        _create(id=_tuned().removeprefix("tunedModels/"))
    with _raises(exceptions.NotFound):
        _create(source_model="models/nothing")
    with _raises(exceptions.NotFound):
        genai.get_tuned_model("tunedModels/nothing")
    with _raises(BAD_REQUEST, "temperature"):
        genai.GenerativeModel(BASE).generate_content("1", generation_config={"temperature": 3})
    with _as("no-key"), _raises(BAD_REQUEST, "API key not valid"):
        genai.get_model(BASE)
    with _as(OTHER_KEY), _raises(FORBIDDEN):
        genai.get_tuned_model("tunedModels/nothing")
