#!/usr/bin/env bash
# What the compiler made of a kernel file, judged without a GPU: the instructions that Hopper's speed depends on are
# there, wgmma is not serialised, and (with "no-spills") no register went to memory.
# usage: generated_code.sh NVCC KERNELS_FOLDER FILE no-spills|any-spills INSTRUCTION...
set -euo pipefail
nvcc=$1 folder=$2 file=$3 spills=$4
shift 4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
common=(-std=c++20 -O3 --expt-relaxed-constexpr -DMEMWALL_RECORD_TILES -I "$folder")

"$nvcc" "${common[@]}" -arch=compute_90a -ptx "$folder/$file" -o "$work/code.ptx"
for instruction in "$@"; do
  if ! grep -qF "$instruction" "$work/code.ptx"; then
    echo "$file: no $instruction in the PTX"
    exit 1
  fi
  echo "$file: $(grep -cF "$instruction" "$work/code.ptx") x $instruction"
done

"$nvcc" -arch=sm_90a -Xptxas=-v -cubin "$work/code.ptx" -o "$work/code.cubin" 2> "$work/report.txt"
kernels=$(grep -c 'bytes spill stores' "$work/report.txt")
spilling=$(grep 'bytes spill stores' "$work/report.txt" | grep -vc ' 0 bytes spill stores, 0 bytes spill loads' || true)
echo "$file: $kernels kernels, $spilling of them spill"
if [ "$kernels" -eq 0 ] || { [ "$spills" = no-spills ] && [ "$spilling" -gt 0 ]; }; then
  cat "$work/report.txt"
  exit 1
fi
# ptxas says so when it cannot keep the registers of products under way apart, and then runs them one at a time.
if grep -qi 'wgmma.*serialized' "$work/report.txt"; then
  echo "$file: wgmma is serialised:"
  grep -i 'wgmma.*serialized' "$work/report.txt"
  exit 1
fi
