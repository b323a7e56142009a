"""Programs that some tests need: where one is missing they are skipped, and in CI, which installs them all, they fail."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from idplane.testing.postgres_cluster import Cluster, binaries, cluster
from idplane.testing.softhsm import MODULE, SoftHsm, soft_hsm

__all__ = ["missing", "postgres", "program", "token"]


def missing(reason: str) -> NoReturn:
    """Whatever asks for this cannot go on here."""
    if "CI" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)


def program(*names: str) -> pytest.MarkDecorator:
    """The mark of tests that need commands: without them they are skipped, but not in CI, where they fail for want of them."""
    lacking = [name for name in names if shutil.which(name) is None]
    return pytest.mark.skipif(bool(lacking) and "CI" not in os.environ, reason=f"not installed: {', '.join(lacking)}")


@contextmanager
def postgres(settings: str = "-c fsync=off") -> Iterator[Cluster]:
    """A cluster of its own, made from Debian's package."""
    installed = binaries()
    if installed is None:
        missing("PostgreSQL's server is not installed (Debian: apt-get install postgresql)")
    with cluster(installed, settings=settings) as running:
        yield running


@contextmanager
def token(folder: Path) -> Iterator[SoftHsm]:
    """A token of SoftHSM's with the keys a and b, which this process's PKCS#11 module sees."""
    import pkcs11  # noqa: PLC0415 - an extra, for the tests that need a token

    if not MODULE.exists():
        missing("SoftHSM is not installed (Debian: apt-get install softhsm2)")
    made = soft_hsm(folder)
    for key in ("a", "b"):
        made.make_key(key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(made.configuration))
        pkcs11.lib(str(MODULE)).reinitialize()
        yield made
