"""A binding's rule as JSON: the form that Resource Manager shows and that agents are told. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.model.bindings import ProcessRule
from idplane.model.values import JsonObject

__all__ = ["process_document"]


def process_document(rule: ProcessRule) -> JsonObject:
    """The rule's facts; what it does not say is left out."""
    executable, container = rule.executable, rule.container
    return _given(
        {
            "user": rule.user,
            "group": rule.group,
            "executable": executable
            and _given(
                {
                    "path": executable.path,
                    "device": executable.device,
                    "inode": executable.inode,
                    "sha256": executable.sha256,
                }
            ),
            "systemdUnit": rule.systemd_unit,
            "cgroup": rule.cgroup,
            "container": container
            and _given(
                {
                    "engine": container.engine.value if container.engine else None,
                    "id": container.id,
                    "pod": container.pod,
                }
            ),
            "run": rule.run,
        }
    )


def _given(members: Mapping[str, object]) -> JsonObject:
    return {name: value for name, value in members.items() if value is not None}
