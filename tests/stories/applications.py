"""An application for a plane that `idplane up` runs: put into its store while it is not running, since no API makes one yet."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from idplane.bootstrap.operator import OperatorKey
from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.directory import clients
from idplane.model.federation import Trust
from idplane.ports.collections import CREDENTIALS, FEDERATED_CREDENTIALS, PRINCIPALS
from idplane.ports.store import ABSENT, Batch, Put
from idplane.store.datafolder import DataFolder
from idplane.store.sqlite import SqliteStore
from idplane.testing.local import Application

__all__ = ["add_application", "new_pem"]

_NAME = "batch-job"


def new_pem() -> bytes:
    """A key and its certificate, for an application to sign in with."""
    return OperatorKey.create(SystemClock(), SystemEntropy()).pem()


def add_application(data: Path, tenant_id: str, pem: bytes, *trusts: Trust) -> Application:
    """An application named `batch-job` with a secret, this certificate and these federated credentials."""
    clock, entropy = SystemClock(), SystemEntropy()
    now = clock.now()
    principal = clients.new_application_principal(tenant_id=tenant_id, display_name=_NAME, entropy=entropy, now=now)
    secret = clients.new_secret(principal, entropy=entropy, now=now, lifetime=timedelta(days=1))
    der = OperatorKey.from_pem(pem).certificate
    certificate = clients.certificate_credential(principal, certificate=der, entropy=entropy)
    federated = [
        clients.federated_credential(principal, name=f"federated-{number}", trust=trust, entropy=entropy, now=now)
        for number, trust in enumerate(trusts)
    ]
    batch = Batch.of(
        Put(collection=PRINCIPALS, value=principal, expect=ABSENT),
        *(Put(collection=CREDENTIALS, value=one, expect=ABSENT) for one in (secret.credential, certificate)),
        *(Put(collection=FEDERATED_CREDENTIALS, value=one, expect=ABSENT) for one in federated),
    )

    async def put() -> None:
        with DataFolder.open(data) as folder:
            store = await SqliteStore.open(folder.database, clock=clock)
            await store.commit(batch)
            await store.close()

    asyncio.run(put())
    return Application(client_id=principal.client_id, principal_id=principal.id, secret=secret.secret)
