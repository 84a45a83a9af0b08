#!/usr/bin/env bash
# On one GPU, without a network, in at most a dozen minutes: first whether the step computes what
# stock PEFT does, then how fast it is beside TRL and TRL with Liger's kernels.
#
#   benchmarks/gpu.sh [--device cuda|cpu] [--tiny] [--minutes 12] [--out FOLDER]
#
# It needs what `pip install -e '.[train,bench,qlora,gpu]'` installs. Results are written to the
# folder as they come: by default $OUT, or else gpu-results.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
[ -x "$(command -v "$python")" ] || python=python3
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false
exec "$python" -m benchmarks.gpu "$@"
