"""Everything that azure-keyvault-secrets offers, against one vault. As a program: inside a run, with production's URL and no settings."""

from __future__ import annotations

import asyncio
import logging
import sys
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ManagedIdentityCredential
from azure.identity.aio import ManagedIdentityCredential as AioManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AioSecretClient

__all__ = ["aio_tour", "tour"]

MANY = 51
"""Three of the service's own pages of 25."""


def code_of(refusal: pytest.ExceptionInfo[HttpResponseError]) -> tuple[int | None, str | None]:
    """Status and error code of a refusal."""
    error = refusal.value.error
    return refusal.value.status_code, error.code if error else None


def tour(client: SecretClient) -> None:
    """The synchronous client."""
    _versions(client)
    _pages(client)
    _disabled(client)
    _deleted(client)
    _refused(client)


def _versions(client: SecretClient) -> None:
    expires = datetime(2040, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = client.set_secret(
        "db", "one", content_type="text/plain", tags={"a": "b"}, expires_on=expires, not_before=expires - timedelta(days=9999)
    )
    assert (first.name, first.value, first.properties.content_type, first.properties.tags) == (
        "db",
        "one",
        "text/plain",
        {"a": "b"},
    )
    assert (first.properties.expires_on, first.properties.enabled) == (expires, True)
    assert first.properties.vault_url == client.vault_url
    assert first.properties.created_on is not None
    second = client.set_secret("db", "zwei ✓\n")
    assert client.get_secret("db").value == "zwei ✓\n"
    assert client.get_secret("db", first.properties.version).value == "one"
    assert first.properties.version is not None
    versions = {one.version for one in client.list_properties_of_secret_versions("db")}
    assert versions == {first.properties.version, second.properties.version}
    changed = client.update_secret_properties("db", first.properties.version, tags={}, content_type="x")
    assert (changed.tags or {}, changed.content_type, changed.expires_on) == ({}, "x", expires)
    assert client.get_secret("db").properties.content_type is None


def _pages(client: SecretClient) -> None:
    names = {f"many-{number:02}" for number in range(MANY)}
    for name in names:
        client.set_secret(name, name)
    listed = [[one.name for one in page] for page in client.list_properties_of_secrets().by_page()]
    assert {name for page in listed for name in page} == names | {"db"}
    assert [len(page) for page in listed] == [25, 25, MANY + 1 - 50]
    small = [[one.name for one in page] for page in client.list_properties_of_secrets(max_page_size=7).by_page()]
    assert list(chain.from_iterable(small)) == list(chain.from_iterable(listed))
    assert {len(page) for page in small[:-1]} == {7}
    for number in range(6):
        client.set_secret("db", str(number))
    pages = [list(page) for page in client.list_properties_of_secret_versions("db", max_page_size=3).by_page()]
    assert [len(page) for page in pages] == [3, 3, 2]


def _disabled(client: SecretClient) -> None:
    client.set_secret("off", "x", enabled=False)
    with pytest.raises(HttpResponseError) as refusal:
        client.get_secret("off")
    assert code_of(refusal) == (403, "Forbidden")
    assert "disabled" in (refusal.value.message or "")
    assert client.update_secret_properties("off", enabled=True).enabled is True
    assert client.get_secret("off").value == "x"


def _deleted(client: SecretClient) -> None:
    client.set_secret("old", "x")
    poller = client.begin_delete_secret("old")
    deleted = poller.result()
    poller.wait()
    assert deleted.recovery_id
    assert deleted.scheduled_purge_date
    assert client.get_deleted_secret("old").name == "old"
    assert [one.name for one in client.list_deleted_secrets()] == ["old"]
    for attempt in (lambda: client.get_secret("old"), lambda: client.begin_delete_secret("old")):
        with pytest.raises(ResourceNotFoundError) as missing:
            attempt()
        assert code_of(missing) == (404, "SecretNotFound")
    with pytest.raises(ResourceExistsError) as taken:
        client.set_secret("old", "y")
    assert code_of(taken) == (409, "Conflict")
    recovery = client.begin_recover_deleted_secret("old")
    recovery.wait()
    assert client.get_secret("old").value == "x"
    client.begin_delete_secret("old").wait()
    client.purge_deleted_secret("old")
    with pytest.raises(ResourceNotFoundError):
        client.get_deleted_secret("old")
    assert client.set_secret("old", "new").value == "new"


def _refused(client: SecretClient) -> None:
    with pytest.raises(ResourceNotFoundError) as missing:
        client.get_secret("nowhere")
    assert code_of(missing) == (404, "SecretNotFound")
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("db", "0" * 32)
    with pytest.raises(HttpResponseError) as bad:
        client.set_secret("under_score", "x")
    assert code_of(bad) == (400, "BadParameter")


async def aio_tour(client: AioSecretClient) -> None:
    """The asynchronous client."""
    made = await client.set_secret("aio", "one", tags={"a": "b"})
    assert (await client.get_secret("aio", made.properties.version)).value == "one"
    for number in range(6):
        await client.set_secret("aio", str(number))
    pages = [
        [one async for one in page]
        async for page in client.list_properties_of_secret_versions("aio", max_page_size=3).by_page()
    ]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert "aio" in {one.name async for one in client.list_properties_of_secrets()}
    changed = await client.update_secret_properties("aio", enabled=False)
    assert changed.enabled is False
    with pytest.raises(HttpResponseError) as off:
        await client.get_secret("aio")
    assert code_of(off) == (403, "Forbidden")
    deleted = await client.delete_secret("aio")
    assert deleted.scheduled_purge_date
    assert [one.name async for one in client.list_deleted_secrets()] == ["aio"]
    with pytest.raises(ResourceNotFoundError):
        await client.get_secret("aio")
    assert (await client.recover_deleted_secret("aio")).name == "aio"
    await client.delete_secret("aio")
    await client.purge_deleted_secret("aio")
    with pytest.raises(ResourceNotFoundError):
        await client.get_deleted_secret("aio")


async def _aio_main(url: str) -> None:
    async with AioManagedIdentityCredential() as credential, AioSecretClient(url, credential) as client:
        await aio_tour(client)


def _main(url: str) -> None:
    logging.disable(logging.CRITICAL)
    with ManagedIdentityCredential() as credential, SecretClient(url, credential) as client:
        asyncio.run(_aio_main(url))
        tour(client)
    print("the tour is over", flush=True)  # noqa: T201 - what whoever started it waits for


if __name__ == "__main__":
    _main(sys.argv[1])
