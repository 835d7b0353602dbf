#!/usr/bin/env bash
# Train the bodies of the gallery on a GPU, from what prepare.py gathered: `train.sh OUT [MINUTES] [STEPS]`.
# live first, then studio, which grows from it, each for at most MINUTES (9); models, curves and contact sheets go to OUT. A run that is cut
# short has its last checkpoint there (one a minute).
set -uo pipefail
out=${1:?a folder for the results} minutes=${2:-9} steps=${3:-}
cd "$(dirname "$0")/../.."
mkdir -p "$out"
for body in live studio; do
    # the recipes are made for two cores: four times the batch here
    sed 's/^batch = 4/batch = 16/; s/^batch = 2/batch = 8/' "export/recipes/$body.toml" > "$out/$body.toml"
    init=()
    [ "$body" = studio ] && init=(--init "$out/live.onnx")
    timeout --signal=INT "${minutes}m" python -m rtstyle train --recipe "$out/$body.toml" \
        --photos .gpu/content --pictures .gpu/style --vgg .gpu/vgg16.safetensors \
        --run-dir "$out/$body.run" -o "$out/$body.onnx" "${init[@]}" ${steps:+--steps "$steps"} ${DEVICE:+--device "$DEVICE"} --quiet
    python -m rtstyle styles --model "$out/$body.onnx" --sheet "$out/$body.png"
done
