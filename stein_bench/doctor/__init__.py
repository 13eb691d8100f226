"""What is installed here, what works, and what is slow and why: facts for `stein-bench doctor`, without printing."""
