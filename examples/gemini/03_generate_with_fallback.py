"""Надёжные ответы: дождаться модели, а если она не отвечает, спросить базовую с примерами."""

import csv
import time
from pathlib import Path

import kamerton.genai as genai
from kamerton.errors import KamertonError

DATA = Path(__file__).parent / "numbers.csv"
BASE_MODEL = "models/gemini-1.5-pro"
TUNED_MODEL = "tunedModels/next-number-v1"

CONFIG = genai.types.GenerationConfig(
    temperature=0.2,  # ближе к тому, чему модель обучена
    top_p=0.8,
    top_k=40,
    max_output_tokens=64,
)


def wait_for_activation(model_name: str) -> None:
    """Ждать, пока модель не станет ACTIVE."""
    while True:
        model = genai.get_tuned_model(model_name)
        print(f"Состояние {model_name}: {model.state.name}")
        if model.state.name == "ACTIVE":
            return
        if model.state.name == "FAILED":
            raise RuntimeError(f"Обучение не удалось: {model.tuning_task.error_message}")
        time.sleep(0.5)


def robust_generation(tuned_model: str, base_model: str, prompt: str, examples: str) -> str:
    """Ответ дообученной модели; если её нет, ответ базовой модели с примерами в запросе."""
    try:
        model = genai.GenerativeModel(tuned_model)
        return "tuned: " + model.generate_content(prompt, generation_config=CONFIG).text
    except KamertonError as error:
        print(f"{tuned_model} не ответила ({error}), спрашиваем {base_model}.")
    few_shot = f"Следуй примерам ниже:\n\n{examples}\n\nЗадание: {prompt} ->"
    model = genai.GenerativeModel(base_model)
    return "base: " + model.generate_content(few_shot, generation_config=CONFIG).text


genai.configure()  # KAMERTON_ENDPOINT и KAMERTON_API_KEY

if TUNED_MODEL not in [model.name for model in genai.list_tuned_models()]:
    model_id = TUNED_MODEL.removeprefix("tunedModels/")
    genai.create_tuned_model(BASE_MODEL, DATA, id=model_id, epoch_count=5, learning_rate=0.001)
wait_for_activation(TUNED_MODEL)

with DATA.open(encoding="utf-8") as file:
    few_shot_examples = "\n".join(
        f"{row['text_input']} -> {row['output']}" for row in csv.DictReader(file)
    )

# Ни римских цифр, ни русских слов в данных нет.
for number in ("LXIII", "forty two", "сорок два"):
    print(number, "→", robust_generation(TUNED_MODEL, BASE_MODEL, number, few_shot_examples))

# Такой модели нет: отвечает базовая.
print("XIX →", robust_generation("tunedModels/no-such-model", BASE_MODEL, "XIX", few_shot_examples))
