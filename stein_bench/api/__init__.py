"""What Python programs and notebooks import: `stein_bench.evaluate` and what goes with it."""
