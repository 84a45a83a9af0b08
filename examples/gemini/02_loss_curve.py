"""Watch a tuning run: its snapshots in a pandas frame, its loss curve as loss_curve.png."""

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

import kamerton.genai as genai

DATA = Path(__file__).parent / "numbers.csv"
MODEL_NAME = "tunedModels/loss-curve-v1"

genai.configure()  # the server of KAMERTON_ENDPOINT, with the key KAMERTON_API_KEY

for model in genai.list_tuned_models():
    if model.name == MODEL_NAME:
        print(f"{model.name} is there from an earlier run; deleting it.")
        genai.delete_tuned_model(model)

genai.create_tuned_model(
    source_model="models/gemini-1.5-flash-001-tuning",
    training_data=str(DATA),
    id=MODEL_NAME.removeprefix("tunedModels/"),
    display_name="Loss curve",
    epoch_count=10,
    batch_size=4,
    learning_rate=0.001,
)

while True:
    model = genai.get_tuned_model(MODEL_NAME)
    snapshots = pd.DataFrame(model.tuning_task.snapshots)
    if not snapshots.empty:
        last = snapshots.iloc[-1]
        print(
            f"{model.state.name}: epoch {last.epoch}, step {last.step}, loss {last.mean_loss:.4f}"
        )
    if model.state.name == "ACTIVE":
        break
    if model.state.name == "FAILED":
        sys.exit(f"The tuning failed: {model.tuning_task.error_message}")
    time.sleep(0.5)

print(snapshots.groupby("epoch")["mean_loss"].mean().to_string())

plt.figure(figsize=(10, 6))
sns.lineplot(data=snapshots, x="step", y="mean_loss", marker="o")
plt.title(f"Loss of {MODEL_NAME}")
plt.xlabel("Step")
plt.ylabel("Mean loss")
plt.grid(True)
plt.savefig("loss_curve.png")
print("The curve is in loss_curve.png.")
