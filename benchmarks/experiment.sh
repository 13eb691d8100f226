#!/usr/bin/env bash
# The experiment of benchmarks/device.sh --experiment, where it is described.
set -euo pipefail

smoke=
if [ "${1:-}" = --smoke ]; then
  smoke=yes
  shift
fi
case "${1:-}" in
  -* | '') echo "usage: benchmarks/device.sh --experiment [--smoke] DATA [FOLDER]" >&2; exit 2 ;;
esac
data=$(realpath -m -- "$1")
given=${2:+$(realpath -m -- "$2")}
folder=$(realpath -m -- "${OUT:-${2:-device-results}}")
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
test=$data/cifar10_test_2000.npz train=$data/cifar10_train_12000.npz
for file in "$test" "$train"; do
  if [ ! -f "$file" ]; then
    echo "$file: no such file; DATA holds cifar10_test_2000.npz and cifar10_train_12000.npz" >&2
    exit 2
  fi
done

mkdir -p "$folder/cells"
if [ -n "$given" ] && [ "$given" != "$folder" ] && [ -d "$given/cells" ]; then
  cp -rn "$given/cells/." "$folder/cells/"
fi
options=(--device cuda)
if [ -n "$smoke" ]; then # the same way through everything, tiny and on the CPU
  export OMP_NUM_THREADS=1
  options=(--device cpu --model paper:resnet9,width=1 --epochs 1 --seeds 2 --limit 8 --attack fgsm:eps=1/255
    --attack autoattack:eps=1/255)
fi

# The data's names are part of the cells' identity, so they are given from their own folder.
repository=$PWD
cd "$data"
seconds=${SECONDS_AT_MOST:-540}
status=0
timeout --signal=INT --kill-after=20 "$seconds" "$python" -m stein_bench reproduce \
  "$repository/configs/paper/cifar10-question-gpu.yaml" "${options[@]}" --cells "$folder/cells" \
  --output "$folder/cifar10-question-gpu.json" --html "$folder/cifar10-question-gpu.html" || status=$?
if [ "$status" -eq 124 ] || [ "$status" -eq 130 ]; then
  # What is there becomes a document of the seeds that are complete, from the first one on.
  complete=0
  while [ "$(find "$folder/cells" -name "standard-*-seed$((10 + complete))-*.json" | wc -l)" -eq 3 ]; do
    complete=$((complete + 1))
  done
  echo "time is over; $complete seeds are complete" >&2
  status=0
  if [ "$complete" -gt 0 ]; then
    "$python" -m stein_bench reproduce "$repository/configs/paper/cifar10-question-gpu.yaml" "${options[@]}" \
      --seeds "$complete" --cells "$folder/cells" --output "$folder/cifar10-question-gpu.json" \
      --html "$folder/cifar10-question-gpu.html" || status=$?
  fi
fi
exit "$status"
