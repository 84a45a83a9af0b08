"""The steps of a run in the experiment tracker of whoever asked: TensorBoard, W&B, MLflow, trackio.

Each library is imported when it is asked for; where its data go is by its own settings.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from kamerton.errors import FailedPrecondition, InvalidArgument
from kamerton.types import Snapshot

PROJECT = "kamerton"
"""Where a tracker wants its runs grouped, and nobody has said how."""
Hyperparameters = Mapping[str, float | str]


class Tracker(ABC):
    """One run in a tracker."""

    def __enter__(self) -> Tracker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def log(self, snapshot: Snapshot) -> None:
        with _quiet():
            if snapshot.start_loss is not None:
                self._write(
                    0, {"eval/loss": snapshot.start_loss}, snapshot.compute_time.timestamp()
                )
            self._write(snapshot.step, measured(snapshot), snapshot.compute_time.timestamp())

    def close(self) -> None:
        with _quiet():
            self._end()

    @abstractmethod
    def _write(self, step: int, values: dict[str, float], seconds: float) -> None:
        """Of a step, at a time in seconds."""

    @abstractmethod
    def _end(self) -> None: ...


def open_tracker(
    kind: str, run_name: str, hyperparameters: Hyperparameters, folder: Path
) -> Tracker:
    """A new run; TensorBoard's event files go to a folder of the run's name in `folder`.

    Raises InvalidArgument for a tracker that is not known or not installed, FailedPrecondition
    when it cannot start a run, for instance because nobody is signed in."""
    library = check_tracker(kind)
    try:
        with _quiet():
            return TRACKERS[kind](library, run_name, hyperparameters, folder)
    except Exception as error:
        raise FailedPrecondition(f"{kind} cannot start a run: {error}") from error


def check_tracker(kind: str) -> ModuleType:
    """Its library. Raises InvalidArgument for a tracker that is not known or not installed."""
    if kind not in TRACKERS:
        raise InvalidArgument(f"{kind!r} is no tracker; there are {', '.join(TRACKERS)}")
    try:
        return import_module(kind)
    except ImportError as error:
        if error.name != kind:
            raise
        raise InvalidArgument(f"{kind} is not installed: pip install {kind}") from None


def measured(snapshot: Snapshot) -> dict[str, float]:
    """What is known of a step, by the names that trackers group by."""
    known = {
        "train/loss": snapshot.mean_loss,
        "train/smoothed_loss": snapshot.smoothed_loss,
        "train/learning_rate": snapshot.learning_rate,
        "train/grad_norm": snapshot.gradient_norm,
        "train/tokens_per_second": snapshot.tokens_per_second,
        "eval/loss": snapshot.held_out_loss,
    }
    return {name: value for name, value in known.items() if value is not None}


@contextmanager
def _quiet() -> Iterator[None]:
    """What libraries print goes to stderr: stdout is for answers."""
    with redirect_stdout(sys.stderr):
        yield


class _TensorBoard(Tracker):
    """Event files, by TensorBoard's own writer: whoever wants to look at them has it anyway."""

    def __init__(
        self, library: Any, run_name: str, hyperparameters: Hyperparameters, folder: Path
    ) -> None:
        self._events = import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = import_module("tensorboard.compat.proto.summary_pb2")
        writer = import_module("tensorboard.summary.writer.event_file_writer")
        parameters = import_module("tensorboard.plugins.hparams.summary_v2")
        self._writer = writer.EventFileWriter(str(folder / run_name), flush_secs=2)
        # A run that is told a second time takes the place of what was there.
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._writer.add_event(self._events.Event(session_log=start))
        chosen = parameters.hparams_pb(dict(hyperparameters))
        self._writer.add_event(self._events.Event(summary=chosen))

    def _write(self, step: int, values: dict[str, float], seconds: float) -> None:
        value = self._summaries.Summary.Value
        summary = self._summaries.Summary(
            value=[value(tag=name, simple_value=number) for name, number in values.items()]
        )
        self._writer.add_event(self._events.Event(wall_time=seconds, step=step, summary=summary))

    def _end(self) -> None:
        self._writer.close()


class _Wandb(Tracker):
    def __init__(
        self, library: Any, run_name: str, hyperparameters: Hyperparameters, folder: Path
    ) -> None:
        self._run = library.init(
            project=library.setup().settings.project or PROJECT,
            name=run_name,
            config=dict(hyperparameters),
            reinit="create_new",  # Beside a run that the caller may have open.
        )

    def _write(self, step: int, values: dict[str, float], seconds: float) -> None:
        self._run.log(values, step=step)

    def _end(self) -> None:
        self._run.finish()


class _Mlflow(Tracker):
    def __init__(
        self, library: Any, run_name: str, hyperparameters: Hyperparameters, folder: Path
    ) -> None:
        self._library = library
        # Below a run that the caller may have open.
        self._id = library.start_run(run_name=run_name, nested=True).info.run_id
        library.log_params(dict(hyperparameters), run_id=self._id)

    def _write(self, step: int, values: dict[str, float], seconds: float) -> None:
        self._library.log_metrics(
            values, step=step, run_id=self._id, timestamp=round(seconds * 1000)
        )

    def _end(self) -> None:
        self._library.end_run()


class _Trackio(Tracker):
    def __init__(
        self, library: Any, run_name: str, hyperparameters: Hyperparameters, folder: Path
    ) -> None:
        self._run = library.init(project=PROJECT, name=run_name, config=dict(hyperparameters))

    def _write(self, step: int, values: dict[str, float], seconds: float) -> None:
        self._run.log(values, step=step)

    def _end(self) -> None:
        self._run.finish()


TRACKERS: dict[str, Callable[[Any, str, Hyperparameters, Path], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}
