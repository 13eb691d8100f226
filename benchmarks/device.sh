#!/usr/bin/env bash
# All that a CUDA device has to show, in under 8 minutes: tests, layers, attacks, memory (docs/benchmarks.md).
#
#   benchmarks/device.sh [--smoke] [FOLDER]
#   benchmarks/device.sh --experiment [--smoke] DATA [FOLDER]
#
# Results go to $OUT if that is set, else to FOLDER, else to ./device-results. With $OUT set, FOLDER holds results of an
# earlier run. What was measured before with the same commit, versions and settings is not measured again.
# --smoke runs everything tiny on the CPU, to see that the script works. PYTHON is the interpreter (python3).
#
# --experiment runs configs/paper/cifar10-question-gpu.yaml on the arrays in the folder DATA, for 9 minutes at most: complete
# seeds first. What is finished is kept in the results' folder, and the same command goes on from there, also with the
# cells of an earlier run in FOLDER.
set -euo pipefail

if [ "${1:-}" = --experiment ]; then
  shift
  exec "$(dirname "$0")/experiment.sh" "$@"
fi

command="benchmarks/device.sh $*"
smoke=()
if [ "${1:-}" = --smoke ]; then
  smoke=(--smoke)
  export OMP_NUM_THREADS=1 # the networks are tiny: threads would only wait for each other
  shift
fi
case "${1:-}" in
  -*) echo "usage: benchmarks/device.sh [--smoke] [FOLDER]" >&2; exit 2 ;;
esac
given=${1:+$(realpath -m -- "$1")}
folder=$(realpath -m -- "${OUT:-${1:-device-results}}")
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$folder"

options=(--folder "$folder" --command "$command" "${smoke[@]}")
if [ -n "$given" ] && [ "$given" != "$folder" ]; then
  options+=(--earlier "$given")
fi
"$python" -m benchmarks.device check "${options[@]}"

# Seconds from the start at which each section has to be done; what one leaves, the next may use.
ends=(tests:150 layers:215 attacks:415 memory:455)
status=0
for section in "${ends[@]}"; do
  name=${section%%:*}
  seconds=$((${section##*:} - SECONDS))
  if [ "$seconds" -lt 5 ]; then
    seconds=5
  fi
  # A section ends by itself; one that hangs is stopped, and keeps what it has measured.
  if ! timeout --kill-after=5 $((seconds + 15)) \
    "$python" -m benchmarks.device "$name" --seconds "$seconds" "${options[@]}"; then
    echo "$name: not all of it worked" >&2
    status=1
  fi
done
if ! "$python" -m benchmarks.device table "${options[@]}"; then
  status=1
fi
echo "$SECONDS seconds"
exit "$status"
