"""Fixtures and rules for the project's own tests."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# A browser's driver is in the environment of `make portal` only.
collect_ignore = [] if importlib.util.find_spec("playwright") else ["portal"]

# No test is timed: the machine decides how long things take. In CI the same examples each time, so that a change is judged by what it
# changes; everywhere else new ones.
settings.register_profile(
    "idplane", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("idplane")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The product runs on asyncio only."""
    return "asyncio"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a machine may lack, CI must have: there a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
    return report
