"""How Java programs come to trust a run: a store of authorities in Java's own form, and the variable that names it.

No Java looks at the variables by which everything else is pointed to a bundle, nor at the system's bundle itself. `JAVA_TOOL_OPTIONS`
is read by every virtual machine, however it is started; `JDK_JAVA_OPTIONS` by the `java` launcher alone, so that applications with a
launcher of their own would go without. Both announce themselves on standard error, which can't be had otherwise: hence nothing is
set where there is no sign of a Java, which also saves the run the time for making the store.
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Final

__all__ = ["TRUSTSTORE", "is_java_likely", "java_variables", "truststore"]

TRUSTSTORE: Final = "java-truststore.p12"
_OPTIONS: Final = "JAVA_TOOL_OPTIONS"
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def is_java_likely(base: Mapping[str, str], command: str = "") -> bool:
    """Whether a workload with these variables may be Java, or start one: `JAVA_HOME`, a `java` on the path, or as the command itself."""
    return (
        bool(base.get("JAVA_HOME"))
        or PurePath(command).name == "java"
        or shutil.which("java", path=base.get("PATH")) is not None
    )


def java_variables(base: Mapping[str, str], store: str) -> dict[str, str]:
    """The variable that makes every Java trust the store at this path.

    What the caller has set already comes behind it and wins: of a property that is given twice, Java takes the last.
    """
    option = _quoted(f"-Djavax.net.ssl.trustStore={store}")
    return {_OPTIONS: " ".join(filter(None, (option, base.get(_OPTIONS, ""))))}


def _quoted(option: str) -> str:
    """Java splits the variable at white space, but for what is within quotes of either kind."""
    if not any(character.isspace() or character in "\"'" for character in option):
        return option
    quote = '"' if '"' not in option else "'"
    return f"{quote}{option}{quote}"


def truststore(bundle: bytes) -> bytes:
    """The authorities of a PEM bundle as PKCS#12 without a password, each marked as trusted in the way that Java wants.

    What can't be read as a certificate is left out, as it would be by whoever reads the bundle itself.
    """
    # Half as long to import as the rest of a run's start takes.
    from cryptography.hazmat.primitives.serialization import NoEncryption  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization.pkcs12 import (  # noqa: PLC0415 - as above
        PKCS12Certificate,
        serialize_java_truststore,
    )

    def trusted() -> Iterator[PKCS12Certificate]:
        from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 - as above

        for found in _CERTIFICATE.finditer(bundle):
            try:
                yield PKCS12Certificate(load_pem_x509_certificate(found.group()), None)
            except ValueError:
                continue

    with warnings.catch_warnings():
        # Systems carry a few ancient authorities that break RFC 5280; whether they are good is not decided here.
        warnings.simplefilter("ignore")
        return serialize_java_truststore(list(trusted()), NoEncryption())
