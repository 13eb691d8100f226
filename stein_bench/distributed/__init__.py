"""Distributed processes, as started by `torchrun`: what they exchange (`group`), and who still lives (`watch`)."""

from __future__ import annotations

from stein_bench.distributed.group import (
    alone,
    check_same,
    dealt,
    exchanged,
    from_main,
    gathered,
    host,
    is_main,
    meet,
    own_device,
    own_part,
    process_group,
    rank,
    sum_over_processes,
    wait_for_all,
    works_alone,
    world_size,
)

__all__ = [
    "alone",
    "check_same",
    "dealt",
    "exchanged",
    "from_main",
    "gathered",
    "host",
    "is_main",
    "meet",
    "own_device",
    "own_part",
    "process_group",
    "rank",
    "sum_over_processes",
    "wait_for_all",
    "works_alone",
    "world_size",
]
