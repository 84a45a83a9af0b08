"""The demo's own parts; the whole of it is run by tests/loop."""

from __future__ import annotations

import json
import subprocess

from kamerton.dataset.tutorial import PAIRS
from kamerton.demo import curl_commands


def test_the_curl_commands_are_a_shell_script_with_the_tutorials_pairs() -> None:
    text = curl_commands("http://127.0.0.1:8080", "kam-secret")
    stubs = 'curl() { for last; do :; done; printf "%s\\0" "$last" >&2; }\ntee() { cat; }\n'
    ran = subprocess.run(
        ["bash", "-u"],
        input=stubs + text.replace("modelname=", "modelname=tunedModels/x #"),
        capture_output=True,
        text=True,
    )
    bodies = [json.loads(sent) for sent in ran.stderr.split("\0") if sent.startswith("{")]
    examples = bodies[0]["tuning_task"]["training_data"]["examples"]["examples"]
    assert [(row["text_input"], row["output"]) for row in examples] == list(PAIRS)
    assert bodies[1]["contents"] == [{"parts": [{"text": "LXIII"}]}]
