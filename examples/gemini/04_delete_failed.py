"""Tidy up: list the tuned models and delete those whose tuning failed."""

import kamerton.genai as genai
from kamerton import errors

genai.configure()  # the server of KAMERTON_ENDPOINT, with the key KAMERTON_API_KEY

deleted = []
for model in list(genai.list_tuned_models()):
    print(f"{model.state.name:8}  {model.name}  {model.display_name}")
    if model.state.name == "FAILED":
        print(f"          {model.tuning_task.error_message}")
        try:
            genai.delete_tuned_model(model.name)
            deleted.append(model.name)
        except errors.PermissionDenied:
            print("          stays: somebody else shared it, and only its owner may delete it")

print(f"Deleted: {', '.join(deleted)}" if deleted else "Nothing to delete.")
