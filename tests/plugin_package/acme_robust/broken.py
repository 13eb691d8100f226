"""A part that cannot be imported."""

from a_package_that_is_not_there import attack

__all__ = ["attack"]
