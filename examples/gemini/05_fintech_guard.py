"""Классификатор транзакций: по записи журнала ответить «Подозрительные» или «Нормальные»."""

import json
from pathlib import Path

import kamerton.genai as genai

HERE = Path(__file__).parent
MODEL_ID = "fintech-guard-v1"

genai.configure()  # KAMERTON_ENDPOINT и KAMERTON_API_KEY

if f"tunedModels/{MODEL_ID}" in [model.name for model in genai.list_tuned_models()]:
    print(f"{MODEL_ID} уже есть: удаляем и обучаем заново.")
    genai.delete_tuned_model(f"tunedModels/{MODEL_ID}")

operation = genai.create_tuned_model(
    source_model="models/gemini-3.0-flash-001",
    training_data=str(HERE / "transactions.jsonl"),
    tuned_model_id=MODEL_ID,
    display_name="Fintech guard",
    epoch_count=2,  # сто похожих записей: больше двух эпох модель только зубрит
)
for status in operation.wait_bar():
    print(f"{status.completed_percent:.0f} %")
model = operation.result()
print(f"{model.name}: loss {model.tuning_task.snapshots[-1].mean_loss:.4f}")

# Проверка на записях, которых модель не видела.
guard = genai.GenerativeModel(model.name, generation_config={"temperature": 0})
rows = [json.loads(line) for line in (HERE / "transactions_new.jsonl").open(encoding="utf-8")]
right = 0
for row in rows:
    label = guard.generate_content(row["text_input"]).text
    right += label == row["output"]
    print(f"{row['text_input']} → {label}")
print(f"Верно: {right} из {len(rows)}")
