#!/usr/bin/env bash
# The natural look of photo-6-ssim, from its network with codebooks: natural.sh FREE OUT
#
# FREE is the folder of the free photographs, OUT the one that photo-6.sh wrote to. The weights come to lie beside
# those of the model. Stopped, it goes on where it was when it is run again.
set -euo pipefail
free=$1 out=$2 here=$(dirname "$0")
codec=$out/ssim-fourth-codebooks.pt model=$out/photo-6-ssim.safetensors
source "$here"/stages.sh train.natural
common=(--codec "$codec" --data "$free"/free-[0-6].tar --valid "$free"/free-valid.tar --valid-images 6 --crop 192
    "${batch[@]}" --checkpoint-minutes 5)

stage natural --features 8 --texture 12 --grid 1 --steps 2500 --lr 4e-4 --decay 0.5 --warmup 50 --seed 1
stage natural-look --init "$out"/natural/checkpoint.pt --features 8 --texture 12 --grid 1 --adversary 0.6 \
    --steps 1500 --lr 3e-4 --decay 0.5 --warmup 300 --seed 7
python -m train.export_natural "$out"/natural-look/checkpoint.pt "$model"
