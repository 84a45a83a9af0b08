"""google-genai as its users tune with it; address and key come from GOOGLE_... alone."""

from __future__ import annotations

import asyncio
import functools
import io
import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google import genai
from google.genai import errors, types

NUMBERS = Path(__file__).with_name("numbers.json")
BASE = "models/gemini-1.0-pro-001"
NEWEST = not genai.__version__.startswith("1.")
"""It leaves the training data out of what it sends, and asks at /v1."""

warnings.filterwarnings("ignore", category=UserWarning)  # Tuning is "experimental".
_client = genai.Client()


@contextmanager
def _raises(code: int, status: str, *words: str) -> Iterator[None]:
    try:
        yield
    except errors.ClientError as error:
        assert (error.code, error.status) == (code, status), error
        for word in words:
            assert word in str(error.message), error
    else:
        raise AssertionError(f"no {status} was raised")


def _data(*pairs: tuple[str, str]) -> types.TuningDataset:
    examples = [types.TuningExample(text_input=text, output=output) for text, output in pairs]
    return types.TuningDataset(examples=examples)


def _tune(display_name: str, data: Any = None, epochs: int = 1, batch: int = 4) -> Any:
    """A job; with the training data where this version of the SDK does not lose it."""
    training = data or {"examples": {"examples": [{"textInput": "1", "output": "2"}]}}
    options = types.HttpOptions(extra_body={"tuningTask": {"trainingData": training}})
    return _client.tunings.tune(
        base_model=BASE,
        training_dataset=types.TuningDataset(),
        config=types.CreateTuningJobConfig(
            tuned_model_display_name=display_name,
            epoch_count=epochs,
            batch_size=batch,
            learning_rate=0.001,
            http_options=options,
        ),
    )


def _ended(job: Any) -> Any:
    while not job.has_ended:
        time.sleep(0.05)
        job = _client.tunings.get(name=job.name)
    return job


@functools.cache
def _tuned() -> str:
    """The name of a model tuned as in the tutorial."""
    pairs = [(pair["text_input"], pair["output"]) for pair in json.loads(NUMBERS.read_text())]
    if NEWEST:
        rows = [{"textInput": text, "output": output} for text, output in pairs]
        job = _tune("increment", {"examples": {"examples": rows}}, epochs=5)
    else:
        config = types.CreateTuningJobConfig(
            epoch_count=5,
            batch_size=4,
            learning_rate=0.001,
            tuned_model_display_name="increment",
        )
        job = _client.tunings.tune(base_model=BASE, training_dataset=_data(*pairs), config=config)
    assert job.state == types.JobState.JOB_STATE_QUEUED
    job = _ended(job)
    assert job.state == types.JobState.JOB_STATE_SUCCEEDED, job
    assert job.tuned_model.model == job.tuned_model.endpoint == job.name
    return str(job.name)


_EXACT = types.GenerateContentConfig(temperature=0)


def list_and_get_models() -> None:
    listed = [model.name for model in _client.models.list(config={"query_base": True})]
    assert "models/kamerton-nano-001" in listed
    model = _client.models.get(model=BASE)
    assert model.name == BASE
    assert "createTunedModel" in model.supported_actions
    with _raises(404, "NOT_FOUND", "models/nothing"):
        _client.models.get(model="nothing")


def tune() -> None:
    job = _client.tunings.get(name=_tuned())
    assert job.has_succeeded
    assert job.base_model == BASE
    assert job.start_time < job.end_time


def training_data_that_was_dropped() -> None:
    if not NEWEST:
        return
    with _raises(400, "INVALID_ARGUMENT", "training_data", "extra_body"):
        _client.tunings.tune(base_model=BASE, training_dataset=_data(("1", "2")))


def tune_on_an_uploaded_file() -> None:
    lines = io.BytesIO(b'{"text_input": "1", "output": "2"}\n' * 3)
    file = _client.files.upload(file=lines, config={"mime_type": "application/jsonl"})
    for name in (file.name, file.uri):
        job = _ended(_tune("from a file", {"fileUri": name}, epochs=2, batch=2))
        assert job.state == types.JobState.JOB_STATE_SUCCEEDED
        _client.models.delete(model=job.name)
    _client.files.delete(name=file.name)
    with _raises(404, "NOT_FOUND", file.name):
        _tune("from no file", {"fileUri": file.name})


def list_jobs() -> None:
    if NEWEST:  # The SDK refuses.
        try:
            list(_client.tunings.list())
        except ValueError:
            return
        raise AssertionError("the SDK lists jobs again")
    names = [job.name for job in _client.tunings.list(config={"page_size": 1})]
    assert _tuned() in names


def cancel() -> None:
    job = _tune("to be stopped", epochs=1000)
    _client.tunings.cancel(name=job.name)
    job = _ended(job)
    assert job.state == types.JobState.JOB_STATE_FAILED
    with _raises(400, "FAILED_PRECONDITION", "FAILED"):
        _client.models.generate_content(model=job.name, contents="1")
    _client.models.delete(model=job.name)


def tuned_models() -> None:
    name = _tune("before").name
    listed = [model.name for model in _client.models.list(config={"query_base": False})]
    assert {name, _tuned()} <= set(listed)
    config = types.UpdateModelConfig(display_name="after", description="changed")
    assert _client.models.update(model=name, config=config).display_name == "after"
    model = _client.models.get(model=name)
    assert (model.display_name, model.description) == ("after", "changed")
    _client.models.delete(model=name)
    with _raises(404, "NOT_FOUND", name):
        _client.models.get(model=name)


def generate_content() -> None:
    response = _client.models.generate_content(model=_tuned(), contents="LXIII", config=_EXACT)
    assert response.text == "LXIV"
    assert response.candidates[0].finish_reason == types.FinishReason.STOP
    assert response.model_version and response.response_id
    used = response.usage_metadata
    assert used.total_token_count == used.prompt_token_count + used.candidates_token_count
    config = types.GenerateContentConfig(
        system_instruction="Count.",
        temperature=0.9,
        top_p=0.9,
        top_k=20,
        seed=7,
        candidate_count=2,
        max_output_tokens=3,
        stop_sequences=["."],
        presence_penalty=0.5,
        frequency_penalty=0.5,
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_ONLY_HIGH")
        ],
    )
    ask = functools.partial(_client.models.generate_content, model="gemini-1.5-pro", config=config)
    first, second = ask(contents="1"), ask(contents="1")
    assert len(first.candidates) == 2
    assert first.candidates == second.candidates


def logprobs() -> None:
    config = types.GenerateContentConfig(temperature=0, response_logprobs=True, logprobs=2)
    response = _client.models.generate_content(model=_tuned(), contents="LXIII", config=config)
    (candidate,) = response.candidates
    chosen = candidate.logprobs_result.chosen_candidates
    assert "".join(token.token for token in chosen) == "LXIV"
    assert candidate.avg_logprobs <= 0
    assert {len(step.candidates) for step in candidate.logprobs_result.top_candidates} == {2}


def stream() -> None:
    question = "one thousand nine hundred ninety nine"
    chunks = list(
        _client.models.generate_content_stream(model=_tuned(), contents=question, config=_EXACT)
    )
    assert "".join(chunk.text for chunk in chunks) == "two thousand"
    assert len(chunks) > 1
    assert chunks[-1].usage_metadata.candidates_token_count > 0


def without_waiting() -> None:
    """The client's asynchronous half."""

    async def both() -> tuple[str, str]:
        client = genai.Client()  # One that nobody holds closes its connections.
        question: Any = {"model": _tuned(), "contents": "LXIII", "config": _EXACT}
        whole = await client.aio.models.generate_content(**question)
        pieces = await client.aio.models.generate_content_stream(**question)
        return str(whole.text), "".join([chunk.text async for chunk in pieces])

    assert asyncio.run(both()) == ("LXIV", "LXIV")


def chat() -> None:
    talk = _client.chats.create(model=_tuned(), config=_EXACT)
    assert talk.send_message("three").text == "four"
    assert "".join(chunk.text for chunk in talk.send_message_stream("8"))
    assert [content.role for content in talk.get_history()][:2] == ["user", "model"]


def count_tokens() -> None:
    for model in (BASE, _tuned()):
        counted = _client.models.count_tokens(model=model, contents="LXIII").total_tokens
        response = _client.models.generate_content(model=model, contents="LXIII")
        assert counted == response.usage_metadata.prompt_token_count


def files() -> None:
    sent = _client.files.upload(file=NUMBERS, config={"name": "numbers-2", "display_name": "n"})
    assert (sent.name, sent.display_name) == ("files/numbers-2", "n")
    assert (sent.mime_type, sent.size_bytes) == ("application/json", NUMBERS.stat().st_size)
    assert sent.state == types.FileState.ACTIVE
    assert _client.files.get(name="numbers-2").sha256_hash == sent.sha256_hash
    with _raises(409, "ALREADY_EXISTS"):
        _client.files.upload(file=NUMBERS, config={"name": "numbers-2"})
    stream = io.BytesIO(b"0123456789" * 900_000)  # Two of the client's pieces.
    large = _client.files.upload(file=stream, config={"mime_type": "text/plain"})
    assert large.size_bytes == 9_000_000
    names = {sent.name, large.name}
    assert names <= {file.name for file in _client.files.list(config={"page_size": 1})}
    for name in names:
        _client.files.delete(name=name)
    with _raises(404, "NOT_FOUND"):
        _client.files.get(name="numbers-2")


def both_versions() -> None:
    for version in ("v1", "v1beta"):
        client = genai.Client(http_options=types.HttpOptions(api_version=version))
        assert client.models.get(model=_tuned()).display_name == "increment"
        assert client.models.generate_content(model=_tuned(), contents="1").text


def bearer() -> None:
    """An OAuth token goes into a header; the client wants a key all the same, and sends it."""
    options = types.HttpOptions(
        headers={"Authorization": f"Bearer {os.environ['KAMERTON_API_KEY']}"}
    )
    client = genai.Client(api_key="none", http_options=options)
    assert client.models.get(model=BASE).name == BASE


def refusals() -> None:
    client = genai.Client(api_key="none")
    with _raises(400, "INVALID_ARGUMENT", "API key not valid"):
        client.models.get(model=BASE)
    with _raises(400, "INVALID_ARGUMENT", "temperature"):
        config = types.GenerateContentConfig(temperature=3)
        _client.models.generate_content(model=BASE, contents="1", config=config)
    with _raises(400, "INVALID_ARGUMENT", "epoch_count"):
        _tune("too long", epochs=100_000)
    with _raises(404, "NOT_FOUND", "tunedModels/nothing"):
        _client.tunings.get(name="tunedModels/nothing")
    client = genai.Client(api_key=os.environ["OTHER_KEY"])
    with _raises(403, "PERMISSION_DENIED"):
        client.models.generate_content(model=_tuned(), contents="1")
