#!/usr/bin/env bash
# The six networks of the IWAE paper, then M1 and M1+M2 of Kingma et al. 2014 on the latents of the
# first. Usage: train/runs/mnist.sh MNIST.npz OUT
# Those of a depth share their first passes, with k = 5; docs/density.md says why, and what else
# differs from the paper. For the malloc settings see photo-6.sh.
set -euo pipefail
data=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0

network() {  # layers, then passes with k = 5, and those after them with k = 50 and with k = 1
    local layers=$1 run=$out/$1
    local common=(--data "$data" --layers "$layers") init=(--init "$run"-5/checkpoint.pt)
    python -m train.iwae "${common[@]}" --out "$run"-5 -k 5 --bf16 --passes "$2"
    python -m train.iwae "${common[@]}" "${init[@]}" --out "$run"-50 -k 50 --bf16 \
        --estimator resampling --batch 200 --lr 1.5e-3 --passes "$3"
    python -m train.iwae "${common[@]}" "${init[@]}" --out "$run"-1 --lr 3e-3 --passes "$4"
    for k in 50 5 1; do
        python -m train.nll "$run"-$k/checkpoint.pt --data "$data" \
            --csv benchmarks/results/mnist-nll.csv
    done
}

network 1 300 36 120
network 2 220 26 100

# What M1+M2 finds in the latents of a network of few passes is nearer to the classes.
python -m train.iwae --data "$data" --layers 1 --out "$out"/few -k 5 --bf16 --passes 9
for labels in 100 1000; do
    for draw in 0 1 2 3 4; do
        given=(--labels $labels --draw $draw --csv benchmarks/results/mnist-semi.csv)
        python -m train.semi m1 "$data" --vae "$out"/1-5/checkpoint.pt "${given[@]}"
        python -m train.semi m2 "$data" --vae "$out"/few/checkpoint.pt "${given[@]}" \
            --out "$out"/m2-$labels-$draw
    done
done
