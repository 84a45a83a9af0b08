"""Tidy up with google-genai: list the tuned models and delete those whose tuning failed."""

import os

from google import genai
from google.genai import errors

client = genai.Client(
    api_key=os.environ["KAMERTON_API_KEY"],
    http_options={"base_url": os.environ.get("KAMERTON_ENDPOINT", "http://127.0.0.1:8080")},
)

deleted = []
for model in list(client.models.list(config={"query_base": False})):
    job = client.tunings.get(name=model.name)  # Models have no state in this SDK, jobs have.
    print(f"{job.state.name:20}  {model.name}  {model.display_name or ''}")
    if job.state.name == "JOB_STATE_FAILED":
        try:
            client.models.delete(model=model.name)
            deleted.append(model.name)
        except errors.ClientError as error:
            if error.code != 403:
                raise
            print(f"{'':20}  stays: somebody else shared it, and only its owner may delete it")

print(f"Deleted: {', '.join(deleted)}" if deleted else "Nothing to delete.")
