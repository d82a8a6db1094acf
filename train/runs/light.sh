#!/usr/bin/env bash
# The first stage of a lighter network of four scales, for every quality: train/runs/light.sh FREE OUT
# FREE holds the free photographs, free-[0-6].tar and free-valid.tar. Add --resume to go on. The
# malloc settings keep glibc from returning memory to the system between steps.
set -euo pipefail
free=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0
python -m train.vqvae --config "$(dirname "$0")/light.json" \
    --data "$free"/free-[0-6].tar --valid "$free"/free-valid.tar --valid-images 12 \
    --drawn 0.08 --crop 192 --batch 8 --steps 60000 --decay 0.3 --warmup 100 \
    --valid-every 1000 --checkpoint-minutes 5 --out "$out" "${@:3}"
