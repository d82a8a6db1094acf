#!/usr/bin/env bash
# The six networks of the IWAE paper. Usage: train/runs/mnist.sh MNIST.npz OUT PASSES
# For the malloc settings see photo-1.sh.
set -euo pipefail
data=$1 out=$2 passes=$3
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0

for layers in 1 2; do
    for k in 1 5 50; do
        run=$out/$layers-$k
        python -m train.iwae --data "$data" --out "$run" --layers $layers -k $k --passes "$passes"
        python -m train.nll "$run"/checkpoint.pt --data "$data" \
            --csv benchmarks/results/mnist-nll.csv
    done
done
