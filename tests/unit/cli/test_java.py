"""How Java is made to trust a run."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idplane.bootstrap.world import SystemClock, SystemEntropy
from idplane.cli.java import is_java_likely, java_variables, truststore
from idplane.keys import RunAuthority

PROPERTY = "-Djavax.net.ssl.trustStore="


def test_the_caller_s_options_stay_and_come_last() -> None:
    assert java_variables({}, "/t.p12") == {"JAVA_TOOL_OPTIONS": f"{PROPERTY}/t.p12"}
    made = java_variables({"JAVA_TOOL_OPTIONS": "-Xmx1g -Djavax.net.ssl.trustStore=/own"}, "/t.p12")
    assert made["JAVA_TOOL_OPTIONS"].split() == [f"{PROPERTY}/t.p12", "-Xmx1g", f"{PROPERTY}/own"]


@given(st.text(alphabet="a /\t'", min_size=1) | st.text(alphabet='a /"', min_size=1))
def test_any_path_is_one_option(path: str) -> None:
    """Java's quotes are a subset of a shell's, as long as there is no backslash."""
    assert shlex.split(java_variables({}, path)["JAVA_TOOL_OPTIONS"]) == [PROPERTY + path]


@pytest.mark.parametrize(
    ("base", "command", "likely"),
    [
        ({"PATH": "/nowhere"}, "python3", False),
        ({"PATH": "/nowhere"}, "/opt/jdk/bin/java", True),
        ({"PATH": "/nowhere"}, "java", True),
        ({"PATH": "/nowhere", "JAVA_HOME": "/opt/jdk"}, "mvn", True),
        ({"PATH": "/nowhere", "JAVA_HOME": ""}, "javascript", False),
    ],
)
def test_signs_of_java(base: dict[str, str], command: str, likely: bool) -> None:  # noqa: FBT001 - a column of the table
    assert is_java_likely(base, command) is likely


def test_a_java_on_the_path_is_a_sign(tmp_path: Path) -> None:
    (tmp_path / "java").touch(mode=0o755)
    assert is_java_likely({"PATH": str(tmp_path)}, "sh")


def test_what_is_no_certificate_is_left_out() -> None:
    clock, entropy = SystemClock(), SystemEntropy()
    authorities = [RunAuthority.create(clock, entropy).ca_pem for _ in range(2)]
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    store = truststore(broken.join([b"# a comment\n", *authorities]))
    assert len(store) == len(truststore(b"".join(authorities)))
    assert len(truststore(authorities[0])) < len(store)
