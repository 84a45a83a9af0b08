"""Every script of examples/gemini, unchanged, against the real server and the embedded base."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kamerton.dataset.tutorial import EXAMPLES
from tests.loop.server import Server

pytestmark = pytest.mark.xdist_group("examples")

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "examples" / "gemini"
GOOGLE_GENAI = ROOT / ".venv-clients" / "google-genai" / "bin" / "python"

OF_THE_COMPANY = "→ Здравствуйте! Приносим извинения за ошибку при оплате."
COUNTED = ["LXIII → tuned: LXIV", "forty two → tuned: forty three", "сорок два → tuned: сорок три"]


def run(server: Server, script: str, folder: Path, program: str = sys.executable) -> str:
    """What a script prints, told where the server is as a user tells it."""
    done = subprocess.run(
        [program, str(SCRIPTS / script)],
        env={
            **os.environ,
            "KAMERTON_ENDPOINT": server.address,
            "KAMERTON_API_KEY": server.key,
        },
        cwd=folder,
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode() + server.logs()
    return done.stdout.decode()


@pytest.fixture(params=["", "google_genai/"], ids=["kamerton.genai", "google-genai"])
def sdk(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The folder of the scripts for one SDK, and the Python that has it."""
    if not request.param:
        return "", sys.executable
    if not GOOGLE_GENAI.exists():
        pytest.skip("client google-genai is not installed: it needs make clients")
    return request.param, str(GOOGLE_GENAI)


def failed_model(server: Server) -> str:
    operation = server.create(list(EXAMPLES), epochs=200, display_name="given up")
    server.post(f"/v1beta/{operation['name']}:cancel", {})
    assert "error" in server.await_done(operation)
    return str(operation["metadata"]["tunedModel"])


def state(server: Server, name: str) -> str | None:
    answer = server.get(f"/v1beta/{name}")
    return str(answer.json()["state"]) if answer.status_code == 200 else None


def test_1_tune_from_a_file(server: Server, sdk: tuple[str, str], tmp_path: Path) -> None:
    folder, python = sdk
    script = f"{folder}01_tune_from_file.py"
    first = run(server, script, tmp_path, python)
    assert "состояние ACTIVE" in first
    assert OF_THE_COMPANY in first
    again = run(server, script, tmp_path, python)
    assert "от прошлого запуска" in again
    assert OF_THE_COMPANY in again
    assert server.get("/v1beta/files").json() == {}


def test_2_loss_curve(server: Server, tmp_path: Path) -> None:
    import matplotlib.image

    first = run(server, "02_loss_curve.py", tmp_path)
    assert "ACTIVE: epoch 10, step 38" in first
    losses = [float(loss) for loss in re.findall(r"^\d+ +([\d.]+)$", first, re.MULTILINE)]
    assert len(losses) == 10 and losses[-1] < losses[0] / 10
    picture = matplotlib.image.imread(tmp_path / "loss_curve.png")
    assert picture.shape[:2] == (600, 1000)
    assert picture.std() > 0.01, "nothing is drawn"
    assert "from an earlier run" in run(server, "02_loss_curve.py", tmp_path)


def test_3_generate_with_fallback(server: Server, sdk: tuple[str, str], tmp_path: Path) -> None:
    folder, python = sdk
    for _ in range(2):
        out = run(server, f"{folder}03_generate_with_fallback.py", tmp_path, python)
        for line in COUNTED:
            assert line in out
        assert "tunedModels/no-such-model не ответила" in out
        assert "XIX → base: XX" in out


def test_4_delete_failed(
    server: Server, sdk: tuple[str, str], tmp_path: Path, tutored: str
) -> None:
    folder, python = sdk
    name = failed_model(server)
    out = run(server, f"{folder}04_delete_failed.py", tmp_path, python)
    assert re.search(rf"^Deleted: .*{name}", out, re.MULTILINE)
    assert (state(server, name), state(server, tutored)) == (None, "ACTIVE")
    if not folder:
        assert "The tuning was cancelled." in out
    again = run(server, f"{folder}04_delete_failed.py", tmp_path, python)
    assert "Nothing to delete" in again


def test_5_fintech_guard(server: Server, sdk: tuple[str, str], tmp_path: Path) -> None:
    folder, python = sdk
    script = f"{folder}05_fintech_guard.py"
    out = run(server, script, tmp_path, python)
    right = re.search(r"Верно: (\d+) из 20", out)
    assert right and int(right[1]) >= 18, out
    assert "→ Подозрительные" in out and "→ Нормальные" in out
    assert "обучаем заново" in run(server, script, tmp_path, python)


def test_6_rest_with_requests(server: Server, tmp_path: Path) -> None:
    out = run(server, "06_rest.py", tmp_path)
    assert "100.00% - {'step': 19, 'epoch': 5," in out
    assert "state: ACTIVE\nLXIII → LXIV\n六 → 七\n" in out


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_7_rest_with_curl(server: Server, tmp_path: Path) -> None:
    out = run(server, "07_rest.sh", tmp_path, "bash")
    assert '"totalSteps": 38' in out
    assert '"state": "ACTIVE",\nAsk it' in out
    assert '"text": "LXIV"' in out


def test_no_script_is_forgotten() -> None:
    tested = set(re.findall(r"\d\d_\w+\.(?:py|sh)", Path(__file__).read_text()))
    assert {path.name for path in SCRIPTS.rglob("[0-9]*.*")} == tested
