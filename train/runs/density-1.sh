#!/usr/bin/env bash
# The density model of photographs, density-1. Usage: train/runs/density-1.sh PHOTOS OUT [STEPS]
# PHOTOS holds train-*.tar and valid.tar. For the malloc settings see photo-6.sh.
set -euo pipefail
photos=$1 out=$2 steps=${3:-2000}
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0

python -m train.hvae --data "$photos"/train-*.tar --valid "$photos"/valid.tar \
    --out "$out" --steps "$steps" --decay 0.5 --valid-every 500
python -m train.export_density "$out"/checkpoint.pt vqcodec/weights/density-1.safetensors
