"""What an evaluation will cost: times of passes, attacks tried on a few samples, and the sums of a dry run."""
