#!/usr/bin/env bash
# The natural look of photo-6-ssim, from its network with codebooks: natural.sh FREE OUT
#
# FREE is the folder of the free photographs, OUT the one that photo-6.sh wrote to. The weights come to lie beside
# those of the model. Stopped, it goes on where it was when it is run again.
set -euo pipefail
free=$1 out=$2
codec=$out/ssim-fourth-codebooks.pt model=$out/photo-6-ssim.safetensors
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$gpus" -eq 0 ]; then
    processes=2
    export OMP_NUM_THREADS=1
    batch=(--batch 4 --no-bf16)
else
    processes=$gpus
    batch=(--batch $((8 / gpus > 0 ? 8 / gpus : 1)))
fi
common=(--codec "$codec" --data "$free"/free-[0-6].tar --valid "$free"/free-valid.tar --valid-images 6 --crop 192
    "${batch[@]}" --checkpoint-minutes 5)

stage() {  # its name, then its arguments: one that is done is not done again
    local folder=$out/$1
    shift
    [ ! -e "$folder"/done ] || return 0
    local resume=()
    [ ! -e "$folder"/checkpoint.pt ] || resume=(--resume)
    torchrun --standalone --nproc-per-node "$processes" -m train.natural "${common[@]}" "$@" \
        --out "$folder" "${resume[@]}"
    touch "$folder"/done
}

stage natural --features 8 --texture 12 --grid 1 --steps 2500 --lr 4e-4 --decay 0.5 --warmup 50 --seed 1
stage natural-look --init "$out"/natural/checkpoint.pt --features 8 --texture 12 --grid 1 --adversary 0.6 \
    --steps 1500 --lr 3e-4 --decay 0.5 --warmup 300 --seed 7
python -m train.export_natural "$out"/natural-look/checkpoint.pt "$model"
