#!/usr/bin/env bash
# The six networks of the IWAE paper. Usage: train/runs/mnist.sh MNIST.npz OUT
# Those of a depth share their first passes, with k = 5 at a constant rate; then each goes on with
# its own k while the rate falls. For the malloc settings see photo-1.sh.
set -euo pipefail
data=$1 out=$2
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0

network() {  # layers, passes together, then passes with k = 1, 5 and 50
    local layers=$1 trunk=$out/$1
    local common=(--data "$data" --layers "$layers")
    python -m train.iwae "${common[@]}" --out "$trunk" -k 5 --bf16 --passes "$2" --decay 0
    common+=(--init "$trunk"/checkpoint.pt)
    python -m train.iwae "${common[@]}" --out "$trunk"-1 --passes "$3"
    python -m train.iwae "${common[@]}" --out "$trunk"-5 -k 5 --bf16 --passes "$4"
    python -m train.iwae "${common[@]}" --out "$trunk"-50 -k 50 --bf16 --batch 20 --lr 1.5e-3 \
        --passes "$5"
    for k in 1 5 50; do
        python -m train.nll "$trunk"-$k/checkpoint.pt --data "$data" \
            --csv benchmarks/results/mnist-nll.csv
    done
}

network 1 120 120 100 35
network 2 90 90 80 30
