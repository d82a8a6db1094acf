#!/usr/bin/env bash
# The weights photo-6-psnr and photo-6-ssim, from nothing: train/runs/photo-6.sh FREE OUT
# FREE holds the free photographs, free-[0-6].tar and free-valid.tar. Run it again to go on where it
# was stopped.
set -euo pipefail
free=$1 out=$2 here=$(dirname "$0")
source "$here"/stages.sh train.vqvae
# Steps are a quarter faster compiled, which wants a C++ compiler.
! command -v c++ >/dev/null || batch+=(--compile)
common=(--data "$free"/free-[0-6].tar --valid "$free"/free-valid.tar --valid-images 12 \
    --drawn 0.08 --crop 192 "${batch[@]}" --checkpoint-minutes 5)
mixture=(--structure 0.25 --ssimulacra2 0.3 --features 0.35)

finish() {  # a stage, the tune it ends, the errors it tolerates: codebooks, weights file, forecast
    local stage=$1 tune=$2 tolerated=$3
    python -m train.codebooks "$out"/"$stage"/checkpoint.pt "$out"/"$stage"-codebooks.pt \
        --data "$free"/free-0.tar
    python -m train.export "$out"/"$stage"-codebooks.pt "$out"/photo-6-"$tune".safetensors \
        --tolerated-error "$tolerated"
    python -m train.forecast "$out"/photo-6-"$tune".safetensors "$free"/free-0.tar
}

stage psnr --config "$here"/light.json --steps 22000 --decay 0.45 --warmup 100
finish psnr psnr 2
stage ssim --init "$out"/psnr/checkpoint.pt "${mixture[@]}" \
    --steps 2600 --lr 7e-4 --decay 0.9 --warmup 100
stage ssim-again --init "$out"/ssim/checkpoint.pt "${mixture[@]}" \
    --steps 3800 --lr 6e-4 --decay 0.95 --warmup 100 --seed 82
# More of what the eye does not forgive, less of the features: see docs/design.md.
mixture=(--structure 0.3 --ssimulacra2 0.4 --features 0.12)
stage ssim-third --init "$out"/ssim-again/checkpoint.pt "${mixture[@]}" \
    --steps 6000 --lr 8e-4 --decay 0.95 --warmup 100 --seed 91
# Colour in coarser steps than luma, of which its errors are no part: see docs/design.md.
python -m train.colours "$out"/ssim-third/checkpoint.pt "$out"/ssim-luma.pt
mixture=(--structure 0.4 --ssimulacra2 0.37 --features 0.08)
stage ssim-fourth --init "$out"/ssim-luma.pt "${mixture[@]}" \
    --steps 5300 --lr 9e-4 --decay 0.9 --warmup 100 --seed 122
finish ssim-fourth ssim 8
