"""Idplane.Authorization: the right to ask for decisions about others (`web.decisions`). A namespace of our own, with nothing in it."""

from __future__ import annotations

from typing import Final

from idplane.arm.declare import OperationInfo, Provider

__all__ = ["AUTHORIZATION_OWN", "DECIDE"]

_NAMESPACE: Final = "Idplane.Authorization"
DECIDE: Final = f"{_NAMESPACE}/decisions/action"

AUTHORIZATION_OWN: Final = Provider(
    namespace=_NAMESPACE,
    types=(),
    operations=(
        OperationInfo(
            name=DECIDE,
            provider="idplane Authorization",
            resource="Decisions",
            operation="Ask for decisions",
            description="Tells whether any principal may do something (AuthZEN)",
        ),
    ),
    operations_versions=("2026-11-01",),
)
"""The namespace."""
