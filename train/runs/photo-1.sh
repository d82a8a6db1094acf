#!/usr/bin/env bash
# The shipped weights, photo-1. Usage: train/runs/photo-1.sh PHOTOS OUT
# PHOTOS holds train-*.tar and valid.tar. The malloc settings keep glibc from returning memory to the
# system between steps, which costs page faults: a step with codebooks is several times faster.
set -euo pipefail
photos=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0

python -m train.vqvae --data "$photos"/train-*.tar --valid "$photos"/valid.tar --valid-images 8 \
    --out "$out"/integers --steps 7000 --decay 0 --warmup 100 \
    --valid-every 1500 --checkpoint-minutes 4
python -m train.codebooks "$out"/integers/checkpoint.pt "$out"/start.pt --data "$photos"/train-0.tar
python -m train.vqvae --data "$photos"/train-*.tar --valid "$photos"/valid.tar --valid-images 8 \
    --init "$out"/start.pt --out "$out"/codebooks --steps 4000 --decay 0.6 --warmup 100 \
    --valid-every 1000 --checkpoint-minutes 4
python -m train.export "$out"/codebooks/checkpoint.pt vqcodec/weights/photo-1.safetensors
