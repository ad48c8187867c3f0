"""The models and servers of the tests of serving."""

from tests.serving.conftest import can_serve, repository

__all__ = ["can_serve", "repository"]
