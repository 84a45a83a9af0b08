"""Обучение на файле: загрузить JSONL, обучить модель поддержки и спросить её об ошибке 503."""

import sys
import time
from pathlib import Path

import kamerton.genai as genai

DATA = Path(__file__).parent / "support_tickets.jsonl"
BASE_MODEL = "models/gemini-3.0-flash-001"
MODEL_ID = "support-bot-v1"
QUESTION = "Клиент жалуется на ошибку 503 при оплате. Как ответить вежливо?"

# Адрес сервера и ключ — из KAMERTON_ENDPOINT и KAMERTON_API_KEY.
genai.configure()

# Имя занято прошлым запуском? Тогда та модель уступает место новой.
for model in genai.list_tuned_models():
    if model.name == f"tunedModels/{MODEL_ID}":
        print(f"{model.name} осталась от прошлого запуска, удаляем.")
        genai.delete_tuned_model(model.name)

print(f"Загружаем {DATA.name} ...")
training_file = genai.upload_file(
    path=DATA, display_name="support tickets", mime_type="application/json"
)
print(f"Файл загружен: {training_file.uri}, состояние {training_file.state.name}")

operation = genai.create_tuned_model(
    tuned_model_id=MODEL_ID,
    source_model=BASE_MODEL,
    training_data=training_file,
    epoch_count=5,
    batch_size=4,
    learning_rate=0.001,
    display_name="Customer Support Bot",
)
training_file.delete()  # Примеры уже у сервера.
print(f"Обучение началось: {operation.metadata.total_steps} шагов")

while True:
    model = genai.get_tuned_model(f"tunedModels/{MODEL_ID}")
    if model.state.name == "ACTIVE":
        print(" готово.")
        break
    if model.state.name == "FAILED":
        sys.exit(f"\nОбучение не удалось: {model.tuning_task.description}")
    print(".", end="", flush=True)
    time.sleep(0.5)

support_bot = genai.GenerativeModel(model_name=f"tunedModels/{MODEL_ID}")
# Температура 0: ответ по правилам компании, а не каждый раз новый.
response = support_bot.generate_content(QUESTION, generation_config={"temperature": 0})
print(f"\n{QUESTION}\n→ {response.text}")
