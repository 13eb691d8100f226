"""The label that is no class."""

from __future__ import annotations

IGNORE = 255
"""The label of void pixels in label maps: in no loss, no count and no metric."""
