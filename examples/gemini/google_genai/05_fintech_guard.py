"""Классификатор транзакций с google-genai: «Подозрительные» или «Нормальные» за две эпохи."""

import json
import os
import sys
import time
from pathlib import Path

from google import genai
from google.genai import types

HERE = Path(__file__).parents[1]
DISPLAY_NAME = "fintech-guard-v1"
WAITING = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING")

client = genai.Client(
    api_key=os.environ["KAMERTON_API_KEY"],
    http_options={"base_url": os.environ.get("KAMERTON_ENDPOINT", "http://127.0.0.1:8080")},
)

for model in list(client.models.list(config={"query_base": False})):
    if model.display_name == DISPLAY_NAME:
        print(f"{model.name} уже есть: удаляем и обучаем заново.")
        client.models.delete(model=model.name)

training_file = client.files.upload(
    file=HERE / "transactions.jsonl", config={"mime_type": "application/jsonl"}
)
# С версии 1.47 google-genai не отправляет training_dataset, поэтому файл назван в extra_body.
training_data = {"tuningTask": {"trainingData": {"fileUri": training_file.uri}}}
job = client.tunings.tune(
    base_model="models/gemini-3.0-flash-001",
    training_dataset=types.TuningDataset(examples=[]),
    config=types.CreateTuningJobConfig(
        tuned_model_display_name=DISPLAY_NAME,
        epoch_count=2,  # сто похожих записей: больше двух эпох модель только зубрит
        http_options=types.HttpOptions(extra_body=training_data),
    ),
)
client.files.delete(name=training_file.name)

while job.state.name in WAITING:
    time.sleep(0.5)
    job = client.tunings.get(name=job.name)
print(f"{job.name}: {job.state.name}")
if job.state.name != "JOB_STATE_SUCCEEDED":
    sys.exit("Обучение не удалось.")

# Проверка на записях, которых модель не видела.
rows = [json.loads(line) for line in (HERE / "transactions_new.jsonl").open(encoding="utf-8")]
right = 0
for row in rows:
    label = client.models.generate_content(
        model=job.tuned_model.model,
        contents=row["text_input"],
        config=types.GenerateContentConfig(temperature=0),
    ).text
    right += label == row["output"]
    print(f"{row['text_input']} → {label}")
print(f"Верно: {right} из {len(rows)}")
