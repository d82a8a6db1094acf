# How the scripts here train in stages. They source it with the module that trains, have `out`, the folder
# to write to, and put the arguments of all stages into `common`, `batch` among them.
# Two processes of one thread train faster on two cores than one of two; on GPUs there is one a GPU.
# The malloc settings keep glibc from returning memory to the system between steps.
trainer=$1
export MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=268435456 MALLOC_MMAP_MAX_=0
# What is told to stop may be in the middle of a validation, which takes longer than torchrun's 30 s.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=600
gpus=$(python -c "import torch; print(torch.cuda.device_count())")
if [ "$gpus" = 0 ]; then
    processes=2
    export OMP_NUM_THREADS=1
    batch=(--batch 4 --no-bf16)
else
    processes=$gpus
    batch=(--batch $((8 / gpus > 0 ? 8 / gpus : 1)))
fi

stage() {  # its name, then its arguments: one that is done is not done again
    local folder=$out/$1
    shift
    [ ! -e "$folder"/done ] || return 0
    local resume=()
    [ ! -e "$folder"/checkpoint.pt ] || resume=(--resume)
    torchrun --standalone --nproc-per-node "$processes" -m "$trainer" "${common[@]}" "$@" \
        --out "$folder" "${resume[@]}"
    touch "$folder"/done
}
