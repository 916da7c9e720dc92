"""Settings for all tests, and what holds for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The machine may be busy: how long an example takes says nothing.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(autouse=True)
def the_logger_stays_as_it_was() -> Iterator[None]:
    """Tests that share a process may silence the log, each for itself: others look for lines in it."""
    logger = logging.getLogger("gearstore")
    level, propagate, handlers = logger.level, logger.propagate, logger.handlers[:]
    yield
    logger.propagate, logger.handlers[:] = propagate, handlers
    logger.setLevel(level)
