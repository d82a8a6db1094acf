#!/usr/bin/env bash
# The shipped weights, photo-1. Usage: train/runs/photo-1.sh PHOTOS OUT
# PHOTOS holds train-*.tar and valid.tar. The malloc settings keep glibc from returning memory to the
# system between steps, which costs page faults: a step with codebooks is several times faster.
set -euo pipefail
photos=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0
common=(--data "$photos"/train-*.tar --valid "$photos"/valid.tar --valid-images 8 --structure 0.2)

python -m train.vqvae "${common[@]}" --out "$out"/integers \
    --steps 17500 --decay 0.3 --warmup 100 --compile
python -m train.codebooks "$out"/integers/checkpoint.pt "$out"/start.pt --data "$photos"/train-0.tar
python -m train.vqvae "${common[@]}" --init "$out"/start.pt --out "$out"/codebooks \
    --steps 950 --lr 7e-4 --decay 0.8 --warmup 40
python -m train.export "$out"/codebooks/checkpoint.pt vqcodec/weights/photo-1.safetensors
