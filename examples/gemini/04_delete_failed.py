"""Tidy up: list the tuned models and delete those whose tuning failed."""

import kamerton.genai as genai

genai.configure()  # the server of KAMERTON_ENDPOINT, with the key KAMERTON_API_KEY

deleted = []
for model in list(genai.list_tuned_models()):
    print(f"{model.state.name:8}  {model.name}  {model.display_name}")
    if model.state.name == "FAILED":
        print(f"          {model.tuning_task.error_message}")
        genai.delete_tuned_model(model.name)
        deleted.append(model.name)

print(f"Deleted: {', '.join(deleted)}" if deleted else "Nothing to delete: no model has failed.")
