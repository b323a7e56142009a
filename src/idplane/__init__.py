"""idplane gives anything you run a managed identity.

The layers, top to bottom (imports go down only; `pyproject.toml` holds the contract that fails the build otherwise):
`cli`, `testing` / `bootstrap` / `web`, `agent`, `store` / `providers`, `sts`, `directory`, `vault` /
`arm`, `rbac`, `keys`, `audit` / `jose`, `ports` / `model`.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
