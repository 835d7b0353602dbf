#!/usr/bin/env bash
# Train what is bundled on a GPU, from what prepare.py gathered: `train.sh OUT [MINUTES] [STEPS]`.
# live first; then studio, which grows from it, and the encoder for it, side by side: a training alone leaves a third of a
# large GPU idle. Each takes at most MINUTES (20); models, curves and previews go to OUT. A run that is cut short writes
# its model as far as it got, and has its last checkpoint there (one a minute). DEVICE=cpu with two steps is a dry run.
set -uo pipefail
out=${1:?a folder for the results} minutes=${2:-20} steps=${3:-}
cd "$(dirname "$0")/../.."
mkdir -p "$out"

learn() { # NAME RECIPE [OPTION ...]
    local name=$1 recipe=$2
    shift 2
    timeout --signal=INT "${minutes}m" python -m rtstyle train --recipe "$recipe" \
        --photos .gpu/content --pictures .gpu/style --vgg .gpu/vgg16.safetensors \
        --run-dir "$out/$name.run" -o "$out/$name.onnx" "$@" \
        ${steps:+--steps "$steps"} ${BATCH:+--batch "$BATCH"} ${DEVICE:+--device "$DEVICE"} --quiet
}

learn live export/recipes/live.toml --batch 16 # the recipe says 2 and 4, for two cores
[ -f "$out/live.onnx" ] || exit 1
sed "s|^encoder = \"live\"|encoder = \"$(cd "$out" && pwd)/live.onnx\"|" export/recipes/encoder.toml > "$out/encoder.toml"
learn studio export/recipes/studio.toml --init "$out/live.onnx" &
learn encoder "$out/encoder.toml" &
wait
for body in live studio; do python -m rtstyle styles --model "$out/$body.onnx" --sheet "$out/$body.png"; done
