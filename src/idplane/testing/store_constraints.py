"""Every way in which the schema's constraints can be broken, for the store conformance suite."""

from __future__ import annotations

from dataclasses import replace

from idplane.model.directory import Subscription
from idplane.model.keys import KeyState
from idplane.ports.collections import (
    AGENTS,
    APP_ROLE_ASSIGNMENTS,
    APPLICATIONS,
    BINDINGS,
    CARRIAGES,
    CREDENTIALS,
    DENY_ASSIGNMENTS,
    ENROLLMENTS,
    FEDERATED_CREDENTIALS,
    IDENTITY_ASSIGNMENTS,
    LOCKS,
    MANAGEMENT_GROUPS,
    PRINCIPALS,
    RESOURCES,
    ROLE_ASSIGNMENTS,
    ROLE_DEFINITIONS,
    SECRETS,
    SIGNING_KEYS,
    SUBSCRIPTION_ALIASES,
    SUBSCRIPTIONS,
)
from idplane.ports.store import Batch
from idplane.testing.store_people import PEOPLE_REFUSALS
from idplane.testing.store_refusals import create, missing, needed, unique
from idplane.testing.store_samples import (
    GROUP,
    TENANT,
    VAULT,
    VM,
    agent,
    alias,
    app_role_assignment,
    application,
    binding,
    carriage,
    credential,
    denial,
    enrollment,
    federated_credential,
    identity_assignment,
    lock,
    management_group,
    principal,
    resource,
    role,
    role_assignment,
    secret,
    signing_key,
)

__all__ = ["REFUSALS"]

_GROUP = Batch.of(create(RESOURCES, resource(GROUP)))
_VM = _GROUP + Batch.of(create(RESOURCES, resource(VM)))
_VAULT = _GROUP + Batch.of(create(RESOURCES, resource(VAULT)))
_ANN = Batch.of(create(PRINCIPALS, principal("ann")))
_BOTH = _ANN + Batch.of(create(PRINCIPALS, principal("bob")))
_APP = Batch.of(create(APPLICATIONS, application("app", "c")))
_OF_APP = replace(credential(), principal_id="", application_id="app")
_TRUST_OF_APP = replace(federated_credential(), principal_id="", application_id="app")
_ASSIGNED = _VM + _ANN + Batch.of(create(IDENTITY_ASSIGNMENTS, identity_assignment()))
_SHOPS = "/providers/Microsoft.Management/managementGroups/Shops"
_GROUP_ABOVE = Batch.of(create(MANAGEMENT_GROUPS, management_group("Shops")))
_SUBSCRIBED = Subscription(id="sub", tenant_id=TENANT, display_name="Home", management_group="shops")
_ACTIVE = signing_key("one", KeyState.ACTIVE)

REFUSALS = (
    *PEOPLE_REFUSALS,
    unique("principal client id", PRINCIPALS, principal("ann", client_id="c"), principal("bob", client_id="c")),
    unique("application client id", APPLICATIONS, application("a", "c"), application("b", "c")),
    unique("agent thumbprint", AGENTS, agent("a", "ff"), agent("b", "ff")),
    unique("enrollment id", ENROLLMENTS, enrollment(), replace(enrollment(), name="other"), _VM),
    unique("role name, whatever its case", ROLE_DEFINITIONS, role("a", "Reader"), role("b", "READER")),
    unique(
        "role assignment, whatever its scope's case",
        ROLE_ASSIGNMENTS,
        role_assignment("a"),
        role_assignment("b", scope=GROUP.upper()),
        _ANN,
    ),
    unique(
        "issuer and subject of a principal's federated credential",
        FEDERATED_CREDENTIALS,
        federated_credential("one"),
        federated_credential("two"),
        _ANN,
    ),
    unique(
        "issuer and subject of an application's federated credential",
        FEDERATED_CREDENTIALS,
        _TRUST_OF_APP,
        replace(_TRUST_OF_APP, id="two", name="two"),
        _APP,
    ),
    unique("app role assignment", APP_ROLE_ASSIGNMENTS, app_role_assignment(), app_role_assignment("again"), _BOTH),
    unique("active key of a purpose", SIGNING_KEYS, _ACTIVE, signing_key("two", KeyState.ACTIVE)),
    unique("sequence of a secret, whatever its name's case", SECRETS, secret("a", 1), secret("b", 1, "PASSWORD"), _VAULT),
    missing("group of a resource", RESOURCES, resource(VM)),
    missing("parent of a child resource", RESOURCES, resource(f"{VM}/extensions/agent"), _GROUP),
    missing("host of an identity assignment", IDENTITY_ASSIGNMENTS, identity_assignment(), _ANN),
    missing("host of a binding", BINDINGS, binding(), _GROUP),
    missing("host of an enrollment", ENROLLMENTS, enrollment(), _GROUP),
    missing("resource that an enrollment carries", CARRIAGES, carriage(), _GROUP),
    missing("principal of an identity assignment", IDENTITY_ASSIGNMENTS, identity_assignment(), _VM),
    missing("principal of a credential", CREDENTIALS, credential()),
    missing("principal of a federated credential", FEDERATED_CREDENTIALS, federated_credential()),
    missing("application of a credential", CREDENTIALS, _OF_APP),
    missing("application of a federated credential", FEDERATED_CREDENTIALS, _TRUST_OF_APP),
    missing("principal of an app role assignment", APP_ROLE_ASSIGNMENTS, app_role_assignment()),
    missing("resource of an app role assignment", APP_ROLE_ASSIGNMENTS, app_role_assignment(), _ANN),
    missing("principal of a role assignment", ROLE_ASSIGNMENTS, role_assignment()),
    missing("vault of a secret", SECRETS, secret("a", 1), _GROUP),
    missing("scope of a lock", LOCKS, lock(VAULT), _GROUP),
    missing("scope of a deny assignment", DENY_ASSIGNMENTS, denial(VAULT), _GROUP),
    missing("parent of a management group", MANAGEMENT_GROUPS, management_group("Web", "shops")),
    missing("management group of a subscription", SUBSCRIPTIONS, _SUBSCRIBED),
    missing("subscription of an alias", SUBSCRIPTION_ALIASES, alias()),
    missing("management group of a role assignment", ROLE_ASSIGNMENTS, role_assignment(scope=_SHOPS), _ANN),
    needed("group with resources", RESOURCES, GROUP.lower(), _VM),
    needed("host with an identity", RESOURCES, VM.lower(), _ASSIGNED),
    needed("scope with a deny assignment", RESOURCES, VM.lower(), _VM + Batch.of(create(DENY_ASSIGNMENTS, denial(VM)))),
    needed("host with a binding", RESOURCES, VM.lower(), _VM + Batch.of(create(BINDINGS, binding()))),
    needed("host with an enrollment", RESOURCES, VM.lower(), _VM + Batch.of(create(ENROLLMENTS, enrollment()))),
    needed("resource that an enrollment carries", RESOURCES, VM.lower(), _VM + Batch.of(create(CARRIAGES, carriage()))),
    needed("principal with a host", PRINCIPALS, "ann", _ASSIGNED),
    needed("principal with a credential", PRINCIPALS, "ann", _ANN + Batch.of(create(CREDENTIALS, credential()))),
    needed(
        "principal with a federated credential",
        PRINCIPALS,
        "ann",
        _ANN + Batch.of(create(FEDERATED_CREDENTIALS, federated_credential())),
    ),
    needed("application with a credential", APPLICATIONS, "app", _APP + Batch.of(create(CREDENTIALS, _OF_APP))),
    needed(
        "application with a federated credential",
        APPLICATIONS,
        "app",
        _APP + Batch.of(create(FEDERATED_CREDENTIALS, _TRUST_OF_APP)),
    ),
    needed(
        "resource with an app role assignment",
        PRINCIPALS,
        "bob",
        _BOTH + Batch.of(create(APP_ROLE_ASSIGNMENTS, app_role_assignment())),
    ),
    needed("principal with a role", PRINCIPALS, "ann", _ANN + Batch.of(create(ROLE_ASSIGNMENTS, role_assignment()))),
    needed("scope with a lock", RESOURCES, VAULT.lower(), _VAULT + Batch.of(create(LOCKS, lock(VAULT)))),
    needed(
        "management group with another",
        MANAGEMENT_GROUPS,
        "shops",
        _GROUP_ABOVE + Batch.of(create(MANAGEMENT_GROUPS, management_group("Web", "shops"))),
    ),
    needed(
        "management group with a subscription",
        MANAGEMENT_GROUPS,
        "shops",
        _GROUP_ABOVE + Batch.of(create(SUBSCRIPTIONS, _SUBSCRIBED)),
    ),
    needed(
        "management group with a role",
        MANAGEMENT_GROUPS,
        "shops",
        _GROUP_ABOVE + _ANN + Batch.of(create(ROLE_ASSIGNMENTS, role_assignment(scope=_SHOPS))),
    ),
    needed("vault with secrets", RESOURCES, VAULT.lower(), _VAULT + Batch.of(create(SECRETS, secret("a", 1)))),
)
"""Every unique column and every reference that `ports.collections` promises."""
