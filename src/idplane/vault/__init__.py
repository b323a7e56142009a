"""The Key Vault target: the secrets data plane of the vaults that Resource Manager keeps.

Owns secrets and their versions: set, get, list, update, soft delete, recover, purge. Values are sealed by the key custody before
they reach the store, each bound to its vault, name and version. Does not own vaults as resources (`providers`), how a request
looks on the wire (`web.vault`) or who may do what (`rbac`), though no operation here runs without asking it.

The flow of one operation: the caller's data action is required on the secret's own scope, then the secret's state is read, a new
state is worked out, and one batch that names the versions it was computed from is committed; losing a race means reading again.

Access is by Azure RBAC alone. A vault whose `enableRbacAuthorization` is off is treated the same: access policies are not served.
Backup and restore are not offered.
"""

from idplane.vault.secrets import Secret, SecretChanges, SecretDraft, SecretPage
from idplane.vault.service import SecretVault
from idplane.vault.vaults import Vault, find_vault

__all__ = ["Secret", "SecretChanges", "SecretDraft", "SecretPage", "SecretVault", "Vault", "find_vault"]
