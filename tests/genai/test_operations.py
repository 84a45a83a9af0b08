"""Operations as scripts see them: progress, waiting, failing, cancelling."""

from __future__ import annotations

import pytest

import kamerton.genai as genai
from kamerton import errors
from tests.fake_server import DONE, FAILED, NAME, OPERATION, FakeServer, operation, refusal

PATH = f"/v1beta/{OPERATION}"


@pytest.fixture
def started(server: FakeServer) -> genai.types.CreateTunedModelOperation:
    server.when(f"GET {PATH}", operation())
    return genai.get_operation(OPERATION)


def test_metadata_tells_how_far_it_is(
    server: FakeServer, started: genai.types.CreateTunedModelOperation
) -> None:
    assert started.name == OPERATION
    assert (started.metadata.total_steps, started.metadata.completed_steps) == (10, 0)
    assert started.metadata.tuned_model == NAME
    assert started.metadata.snapshots == []
    server.when(f"GET {PATH}", operation(4))
    started.update()
    assert started.metadata.completed_percent == 40.0
    assert started.metadata.snapshots[-1].step == 4


def test_wait_bar_yields_until_the_end(
    server: FakeServer,
    started: genai.types.CreateTunedModelOperation,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.when(f"GET {PATH}", operation(2), operation(7), DONE)
    seen = [status.completed_steps for status in started.wait_bar(desc="tuning")]
    assert seen == [2, 7]
    shown = capsys.readouterr()
    assert "step 7/10" in shown.err and "step 10/10" in shown.err
    assert shown.out == ""
    assert started.result().state.name == "ACTIVE"


def test_a_failure_is_raised_where_the_model_is_asked_for(
    server: FakeServer, started: genai.types.CreateTunedModelOperation
) -> None:
    server.when(f"GET {PATH}", operation(2), FAILED)
    with pytest.raises(errors.FailedPrecondition, match="the loss is not finite"):
        list(started.wait_bar())
    with pytest.raises(errors.FailedPrecondition, match="the loss is not finite"):
        started.result()
    assert isinstance(started.exception(), errors.FailedPrecondition)
    assert not started.cancelled()


def test_a_result_is_waited_for_no_longer_than_asked(
    started: genai.types.CreateTunedModelOperation,
) -> None:
    with pytest.raises(TimeoutError, match="has not ended within 0"):
        started.result(timeout=0)


def test_cancel(server: FakeServer, started: genai.types.CreateTunedModelOperation) -> None:
    server.when(f"POST {PATH}:cancel", {})
    assert started.cancel()
    assert server.requests[-1] == (f"POST {PATH}:cancel", {})
    server.when(f"GET {PATH}", operation(1, done=True, error={"code": 1, "message": "c"}))
    assert started.cancelled() and not started.running()
    assert not started.cancel()


def test_a_server_that_restarts_is_waited_for(
    server: FakeServer, started: genai.types.CreateTunedModelOperation
) -> None:
    server.answers[f"GET {PATH}"] = [
        (503, refusal(503, "UNAVAILABLE", "starting")),
        (200, DONE),
    ]
    assert started.done()


def test_operations_of_all_models(server: FakeServer) -> None:
    server.when("GET /v1beta/operations", {"operations": [DONE, FAILED]})
    assert [each.name for each in genai.list_operations()] == [OPERATION, OPERATION]
