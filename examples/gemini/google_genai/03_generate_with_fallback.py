"""Надёжные ответы с google-genai: дождаться модели, а без неё спросить базовую с примерами."""

import csv
import os
import time
from pathlib import Path

from google import genai
from google.genai import errors, types

DATA = Path(__file__).parents[1] / "numbers.csv"
BASE_MODEL = "models/gemini-1.5-pro"
DISPLAY_NAME = "Next number"
WAITING = ("JOB_STATE_QUEUED", "JOB_STATE_RUNNING")

CONFIG = types.GenerateContentConfig(
    temperature=0.2,  # ближе к тому, чему модель обучена
    top_p=0.8,
    top_k=40,
    max_output_tokens=64,
)

client = genai.Client(
    api_key=os.environ["KAMERTON_API_KEY"],
    http_options={"base_url": os.environ.get("KAMERTON_ENDPOINT", "http://127.0.0.1:8080")},
)

with DATA.open(encoding="utf-8") as file:
    rows = list(csv.DictReader(file))


def start_tuning() -> str:
    """Имя новой модели."""
    examples = [{"textInput": row["text_input"], "output": row["output"]} for row in rows]
    # С версии 1.47 google-genai не отправляет training_dataset, поэтому примеры в extra_body.
    training_data = {"tuningTask": {"trainingData": {"examples": {"examples": examples}}}}
    job = client.tunings.tune(
        base_model=BASE_MODEL,
        training_dataset=types.TuningDataset(examples=[]),
        config=types.CreateTuningJobConfig(
            tuned_model_display_name=DISPLAY_NAME,
            epoch_count=5,
            learning_rate=0.001,
            http_options=types.HttpOptions(extra_body=training_data),
        ),
    )
    return job.name


def wait_for_activation(name: str) -> None:
    """Ждать, пока модель не будет готова."""
    job = client.tunings.get(name=name)
    while job.state.name in WAITING:
        time.sleep(0.5)
        job = client.tunings.get(name=name)
    print(f"Состояние {name}: {job.state.name}")
    if job.state.name != "JOB_STATE_SUCCEEDED":
        raise RuntimeError("Обучение не удалось.")


def robust_generation(tuned_model: str, base_model: str, prompt: str, examples: str) -> str:
    """Ответ дообученной модели; если её нет, ответ базовой модели с примерами в запросе."""
    ask = client.models.generate_content
    try:
        return "tuned: " + ask(model=tuned_model, contents=prompt, config=CONFIG).text
    except errors.APIError as error:
        print(f"{tuned_model} не ответила ({error.message}), спрашиваем {base_model}.")
    few_shot = f"Следуй примерам ниже:\n\n{examples}\n\nЗадание: {prompt} ->"
    return "base: " + ask(model=base_model, contents=few_shot, config=CONFIG).text


known = [
    model.name
    for model in client.models.list(config={"query_base": False})
    if model.display_name == DISPLAY_NAME
]
tuned_model = known[0] if known else start_tuning()
wait_for_activation(tuned_model)

few_shot_examples = "\n".join(f"{row['text_input']} -> {row['output']}" for row in rows)

# Ни римских цифр, ни русских слов в данных нет.
for number in ("LXIII", "forty two", "сорок два"):
    print(number, "→", robust_generation(tuned_model, BASE_MODEL, number, few_shot_examples))

# Такой модели нет: отвечает базовая.
print("XIX →", robust_generation("tunedModels/no-such-model", BASE_MODEL, "XIX", few_shot_examples))
