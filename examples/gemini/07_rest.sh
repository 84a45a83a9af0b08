#!/usr/bin/env bash
# The tuning tutorial for REST, with curl. Its JSON has trailing commas, and may keep them.
set -euo pipefail

export base_url=${KAMERTON_ENDPOINT:-http://127.0.0.1:8080}
export access_token=${KAMERTON_API_KEY:-}
export project_id=my-project-id
tunemodel=$(mktemp)
trap 'rm -f "$tunemodel"' EXIT

echo "Tuned models:"
curl -sS --fail-with-body -X GET ${base_url}/v1beta/tunedModels \
    -H "Content-Type: application/json" \
    -H "Authorization: Bearer ${access_token}" \
    -H "x-goog-user-project: ${project_id}" | grep '"name"' || echo "  none so far"

echo "Create one:"
curl -sS --fail-with-body -X POST $base_url/v1beta/tunedModels \
    -H 'Content-Type: application/json' \
    -H "Authorization: Bearer ${access_token}" \
    -H "x-goog-user-project: ${project_id}" \
    -d '
      {
        "display_name": "number generator model",
        "base_model": "models/gemini-1.0-pro-001",
        "tuning_task": {
          "hyperparameters": {
            "batch_size": 2,
            "learning_rate": 0.001,
            "epoch_count":5,
          },
          "training_data": {
            "examples": {
              "examples": [
                { "text_input": "1", "output": "2", },
                { "text_input": "3", "output": "4", },
                { "text_input": "-3", "output": "-2", },
                { "text_input": "twenty two", "output": "twenty three", },
                { "text_input": "two hundred", "output": "two hundred one", },
                { "text_input": "ninety nine", "output": "one hundred", },
                { "text_input": "8", "output": "9", },
                { "text_input": "-98", "output": "-97", },
                { "text_input": "1,000", "output": "1,001", },
                { "text_input": "10,100,000", "output": "10,100,001", },
                { "text_input": "thirteen", "output": "fourteen", },
                { "text_input": "eighty", "output": "eighty one", },
                { "text_input": "one", "output": "two", },
                { "text_input": "three", "output": "four", },
                { "text_input": "seven", "output": "eight", },
              ]
            }
          }
        }
      }' | tee "$tunemodel"
modelname=$(sed -n 's/.*"tunedModel": "\(.*\)".*/\1/p' "$tunemodel")

echo "Wait for it:"
state='"state": "CREATING",'
while [[ $state == *CREATING* ]]; do
    sleep 0.5
    state=$(curl -sS --fail-with-body -X GET ${base_url}/v1beta/${modelname} \
        -H 'Content-Type: application/json' \
        -H "Authorization: Bearer ${access_token}" \
        -H "x-goog-user-project: ${project_id}" | grep state)
    echo "$state"
done
[[ $state == *ACTIVE* ]]

echo "Ask it for what comes after LXIII:"
curl -sS --fail-with-body -X POST $base_url/v1beta/$modelname:generateContent \
    -H 'Content-Type: application/json' \
    -H "Authorization: Bearer ${access_token}" \
    -H "x-goog-user-project: ${project_id}" \
    -d '{
        "contents": [{
        "parts": [{
          "text": "LXIII"
          }]
        }],
        "generationConfig": { "temperature": 0, },
        }' | grep '"text"'

echo "Delete it:"
curl -sS --fail-with-body -X DELETE $base_url/v1beta/$modelname \
    -H "Authorization: Bearer ${access_token}"
