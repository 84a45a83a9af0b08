"""Обучение на файле с google-genai: загрузить JSONL, обучить модель, спросить об ошибке 503."""

import os
import sys
import time
from pathlib import Path

from google import genai
from google.genai import types

DATA = Path(__file__).parents[1] / "support_tickets.jsonl"
BASE_MODEL = "models/gemini-3.0-flash-001"
DISPLAY_NAME = "Customer Support Bot v1"
QUESTION = "Клиент жалуется на ошибку 503 при оплате. Как ответить вежливо?"
WAITING = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING")

client = genai.Client(
    api_key=os.environ["KAMERTON_API_KEY"],
    http_options={"base_url": os.environ.get("KAMERTON_ENDPOINT", "http://127.0.0.1:8080")},
)

# Имя модели здесь выбирает сервер; прошлый запуск узнаётся по названию.
for model in list(client.models.list(config={"query_base": False})):
    if model.display_name == DISPLAY_NAME:
        print(f"{model.name} осталась от прошлого запуска, удаляем.")
        client.models.delete(model=model.name)

print(f"Загружаем {DATA.name} ...")
training_file = client.files.upload(
    file=DATA, config={"display_name": "support tickets", "mime_type": "application/json"}
)
print(f"Файл загружен: {training_file.uri}, состояние {training_file.state.name}")

# С версии 1.47 google-genai не отправляет training_dataset, поэтому файл назван в extra_body.
training_data = {"tuningTask": {"trainingData": {"fileUri": training_file.uri}}}
job = client.tunings.tune(
    base_model=BASE_MODEL,
    training_dataset=types.TuningDataset(examples=[]),
    config=types.CreateTuningJobConfig(
        tuned_model_display_name=DISPLAY_NAME,
        epoch_count=5,
        batch_size=4,
        learning_rate=0.001,
        http_options=types.HttpOptions(extra_body=training_data),
    ),
)
client.files.delete(name=training_file.name)  # Примеры уже у сервера.
print(f"Обучение началось: {job.name}")

while job.state.name in WAITING:
    print(".", end="", flush=True)
    time.sleep(0.5)
    job = client.tunings.get(name=job.name)
print(f" {job.state.name}")
if job.state.name != "JOB_STATE_SUCCEEDED":
    sys.exit("Обучение не удалось.")

response = client.models.generate_content(
    model=job.tuned_model.model,
    contents=QUESTION,
    config=types.GenerateContentConfig(temperature=0),
)
print(f"\n{QUESTION}\n→ {response.text}")
