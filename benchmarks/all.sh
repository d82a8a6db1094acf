#!/usr/bin/env bash
# Every figure of the release. Usage, from the project's root:
#     benchmarks/all.sh KODAK VALID PUBLISHED OUT
# KODAK is a folder with the 24 images, VALID a tar of the BSDS500 validation images, PUBLISHED the
# JSON of published Kodak curves. The rows go to OUT, where a run that was stopped goes on; their
# summaries and plots go to benchmarks/results, and from there into the README. Some two hours on two
# cores, of which the last half hour is timings: nothing else should run then.
set -euo pipefail
kodak=$1 valid=$2 published=$3 out=$4
results=benchmarks/results
ours=1,10,15,20,25,30,40,50,60,70,80,90,100
codecs=(-c vqcodec:$ours -c vqcodec-psnr:$ours -c jpeg -c webp
    -c avif-speed4:3,12,22,32,42,52,62,71,78,84 -c jxl:0,14,30,50,70,83,88,92)
anchors=(--anchor jpeg --anchor webp --anchor avif-speed4 --anchor jxl)

python -m benchmarks.rd "$kodak" -o "$out"/kodak.csv --dataset Kodak "${codecs[@]}" \
    --ssimulacra2 --haarpsi --jobs 2
python -m benchmarks.summary "$out"/kodak.csv --published "$published" \
    "${anchors[@]}" --anchor published/vtm18.0 --csv $results/kodak-summary.csv \
    --curves $results/kodak-curves.csv --plots $results/kodak
# Where photographs are kept, SSIMULACRA2 of about 70 and more.
python -m benchmarks.summary "$out"/kodak.csv --anchor avif-speed4 --anchor jxl \
    --min-bpp 0.6 --max-bpp 2 --csv $results/kodak-high-summary.csv
python -m benchmarks.rd "$valid" -o "$out"/photos.csv --dataset "BSDS500 validation" \
    "${codecs[@]}" --jobs 2
python -m benchmarks.summary "$out"/photos.csv "${anchors[@]}" --csv $results/photos-summary.csv \
    --curves $results/photos-curves.csv --plots $results/photos
python -m benchmarks.crops samples/photo.png -o $results/crops.png --box 40,150,96,96
python -m benchmarks.crops samples/photo.png -o $results/looks.png --box 40,150,120,96 --bpp 0.12 \
    -c vqcodec -c vqcodec-natural -c avif-speed4
python -m benchmarks.natural "$kodak" -o "$out"/natural.csv --dataset Kodak --jobs 2
cp "$out"/natural.csv $results/natural.csv
python -m benchmarks.preview "$kodak" -o "$out"/previews.csv --dataset Kodak --jobs 2
python -m benchmarks.preview_summary "$out"/previews.csv --csv $results/preview.csv
python -m benchmarks.density "$kodak" -o "$out"/density.csv --dataset Kodak --jobs 2
cp "$out"/density.csv $results/kodak-density.csv
python -m benchmarks.speed "$kodak"/05.png --threads 2 --csv $results/speed.csv
python -m benchmarks.sweep "$kodak"/05.png -c vqcodec:50 -c webp:56 -c avif:48 -c jxl:36 --megapixels 0.4 \
    --megapixels 3 --megapixels 12 --megapixels 24 --csv $results/sweep.csv
python -m benchmarks.readme
python -m benchmarks.report "$out"/kodak.csv -o "$out"/report.html --published "$published" \
    --images "$kodak" --image 05.png --image 20.png --force
