"""Tests of the facts behind `stein-bench doctor`."""
