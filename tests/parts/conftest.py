"""The tests of people's own code share fixtures, wherever that code is used."""

from tests.models.conftest import _same_modules, write

__all__ = ["_same_modules", "write"]
