"""What a CUDA device is measured with: tests, layers, attacks and memory; `benchmarks/device.sh` runs all of it."""
