#!/usr/bin/env bash
# The density model of photographs, density-2: train/runs/density-2.sh FREE OUT
# FREE holds the free photographs, free-[0-6].tar and free-valid.tar. Run it again to go on where it
# was stopped.
set -euo pipefail
free=$1 out=$2 here=$(dirname "$0")
source "$here"/stages.sh train.hvae
# Unlike the codec's, these steps are faster in bfloat16.
common=(--data "$free"/free-[0-6].tar --valid "$free"/free-valid.tar --valid-images 12 \
    --crop 128 "${batch[@]}" --batch 8 --bf16 --checkpoint-minutes 4)

stage density --steps 2700 --decay 0.8 --soft-colour 0.5 --ycc 0
stage ycc --init "$out"/density/checkpoint.pt --steps 3400 --lr 7e-3 --decay 0.8 --seed 1
stage longer --init "$out"/ycc/checkpoint.pt --steps 3400 --lr 7e-3 --decay 0.9 --seed 2
stage longest --init "$out"/longer/checkpoint.pt --steps 3400 --lr 7e-3 --decay 0.9 --seed 3
python -m train.export_density "$out"/longest/checkpoint.pt "$out"/density-2.safetensors
