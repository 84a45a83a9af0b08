#!/usr/bin/env bash
# Tune on today's data, and have callers use the new model only if it is good enough.
#
# Run it in a folder with data/train.jsonl and data/valid.jsonl. KAMERTON_ENDPOINT and
# KAMERTON_API_KEY say on which server. Arguments go to the gate, such as --min-score 0.9.
# The model in use is the one that the file current-model names; when anything here fails, the
# exit status is not 0 and that file is as it was.
set -euo pipefail

data=(data/train.jsonl --validation data/valid.jsonl)
budget=(--max-seconds 3600)
id=sentiment-$(date -u +%Y%m%d-%H%M%S)

kamerton check "${data[@]}"
kamerton estimate "${data[@]}" "${budget[@]}"
kamerton tune "${data[@]}" "${budget[@]}" --id "$id" --watch

against=()
if [ -s current-model ]; then
  against=(--against "$(cat current-model)")
fi
kamerton gate "$id" "${against[@]}" "$@"

# Promoting is a rename: whoever reads the file sees the old name or the new one.
echo "tunedModels/$id" > current-model.new
mv current-model.new current-model
