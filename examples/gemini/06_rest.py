"""The tuning tutorial for REST, with requests: create, poll the operation, generate."""

import os
import time

import requests

base_url = os.environ.get("KAMERTON_ENDPOINT", "http://127.0.0.1:8080")
headers = {
    "Authorization": "Bearer " + os.environ.get("KAMERTON_API_KEY", ""),
    "Content-Type": "application/json",
    "x-goog-user-project": "my-project-id",
}

listed = requests.get(f"{base_url}/v1beta/tunedModels", headers=headers, timeout=60)
listed.raise_for_status()
print(f"{len(listed.json().get('tunedModels', []))} tuned models on the first page")

operation = requests.post(
    f"{base_url}/v1beta/tunedModels",
    headers=headers,
    json={
        "display_name": "number generator",
        "base_model": "models/gemini-1.0-pro-001",
        "tuning_task": {
            "hyperparameters": {"batch_size": 4, "learning_rate": 0.001, "epoch_count": 5},
            "training_data": {
                "examples": {
                    "examples": [
                        {"text_input": "1", "output": "2"},
                        {"text_input": "3", "output": "4"},
                        {"text_input": "-3", "output": "-2"},
                        {"text_input": "twenty two", "output": "twenty three"},
                        {"text_input": "two hundred", "output": "two hundred one"},
                        {"text_input": "ninety nine", "output": "one hundred"},
                        {"text_input": "8", "output": "9"},
                        {"text_input": "-98", "output": "-97"},
                        {"text_input": "1,000", "output": "1,001"},
                        {"text_input": "10,100,000", "output": "10,100,001"},
                        {"text_input": "thirteen", "output": "fourteen"},
                        {"text_input": "eighty", "output": "eighty one"},
                        {"text_input": "one", "output": "two"},
                        {"text_input": "three", "output": "four"},
                        {"text_input": "seven", "output": "eight"},
                    ]
                }
            },
        },
    },
    timeout=60,
)
operation.raise_for_status()
op_json = operation.json()
name = op_json["metadata"]["tunedModel"]
print(f"{name}: {op_json['metadata']['totalSteps']} steps")

while "response" not in op_json and "error" not in op_json:
    time.sleep(0.5)
    # An operation answers at /v1 and at /v1beta.
    operation = requests.get(f"{base_url}/v1/{op_json['name']}", headers=headers, timeout=60)
    op_json = operation.json()
    percent = op_json["metadata"].get("completedPercent")
    if percent is not None:
        print(f"{percent:.2f}% - {op_json['metadata']['snapshots'][-1]}")
if "error" in op_json:
    raise SystemExit(op_json["error"])

tuned_model = requests.get(f"{base_url}/v1beta/{name}", headers=headers, timeout=60)
print(f"state: {tuned_model.json()['state']}")

# A Roman and a Japanese number, of which the examples say nothing.
for text in ("LXIII", "六"):
    answer = requests.post(
        f"{base_url}/v1beta/{name}:generateContent",
        headers=headers,
        json={"contents": [{"parts": [{"text": text}]}], "generationConfig": {"temperature": 0}},
        timeout=600,
    )
    print(text, "→", answer.json()["candidates"][0]["content"]["parts"][0]["text"])

requests.delete(f"{base_url}/v1beta/{name}", headers=headers, timeout=60).raise_for_status()
print(f"{name} deleted")
