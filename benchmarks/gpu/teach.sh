#!/usr/bin/env bash
# One new style on a GPU, from what prepare.py gathered: `teach.sh OUT [PICTURE] [STEPS]`. First a code on the frozen body,
# then with --full the body too. Models, curves and previews go to OUT, and how many seconds each took.
# DEVICE=cpu with two steps is a dry run.
set -uo pipefail
out=${1:?a folder for the results} picture=${2:-} steps=${3:-}
cd "$(dirname "$0")/../.."
mkdir -p "$out"
for picture in "${picture:-.gpu/style/}"*; do break; done # the first painting
for kind in code full; do
    begun=$SECONDS
    timeout --signal=INT 9m python -m rtstyle train "$picture" --photos .gpu/content --vgg .gpu/vgg16.safetensors \
        --run-dir "$out/$kind.run" -o "$out/$kind.onnx" $([ "$kind" = full ] && echo --full) \
        ${steps:+--steps "$steps"} ${DEVICE:+--device "$DEVICE"} --force --quiet
    echo "$kind: exit $?, $((SECONDS - begun)) seconds, $picture" | tee -a "$out/seconds.txt"
done
