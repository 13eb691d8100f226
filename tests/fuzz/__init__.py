"""Coverage-guided fuzzing of the readers of files: ``python -m tests.fuzz report --minutes 10``."""
