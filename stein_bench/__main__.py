"""`python -m stein_bench`."""

from stein_bench.cli import main

if __name__ == "__main__":
    main()
