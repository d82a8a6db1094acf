#!/usr/bin/env bash
# The shipped weights, photo-5-psnr and photo-5-ssim. Usage: train/runs/photo-5.sh PHOTOS OUT
# PHOTOS holds train-*.tar and valid.tar. The malloc settings keep glibc from returning memory to the
# system between steps, which costs page faults: a step with codebooks is several times faster.
set -euo pipefail
photos=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0
common=(--data "$photos"/train-*.tar --valid "$photos"/valid.tar --valid-images 8 \
    --crop 256 --batch 5)
ssim=(--structure 0.4 --ssimulacra2 0.5)

finish() {  # the name of a tune, and its distortion: codebooks, and the weights file
    local name=$1
    shift
    python -m train.codebooks "$out"/"$name"-integers/checkpoint.pt "$out"/"$name"-start.pt \
        --data "$photos"/train-0.tar
    python -m train.vqvae "${common[@]}" "$@" --init "$out"/"$name"-start.pt \
        --out "$out"/"$name"-codebooks --steps 400 --lr 1e-4 --decay 0.9 --warmup 20
    python -m train.export "$out"/"$name"-codebooks/checkpoint.pt \
        vqcodec/weights/photo-5-"$name".safetensors
}

python -m train.vqvae "${common[@]}" --out "$out"/psnr-integers \
    --steps 28000 --decay 0.5 --warmup 100 --compile
finish psnr
python -m train.vqvae "${common[@]}" "${ssim[@]}" \
    --init "$out"/psnr-integers/checkpoint.pt --gain-range 2.5 --out "$out"/ssim-integers \
    --steps 2900 --decay 0.75 --warmup 50 --compile
finish ssim "${ssim[@]}"
