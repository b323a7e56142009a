"""`idplane run` as real processes: what passes through, what is inside, and what stays outside."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.cli.run_world import PLANE_PORT, VM_A, RunWorld, run_world

PYTHON = sys.executable


# What passes through


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code_is_the_commands(plane: RunWorld, code: int) -> None:
    assert plane.run("sh", "-c", f"exit {code}").returncode == code


def test_command_not_found_is_127(plane: RunWorld) -> None:
    ended = plane.run("no-such-command-anywhere")
    assert (ended.returncode, ended.stderr) == (127, "idplane: no-such-command-anywhere: No such file or directory\n")


def test_command_that_cannot_be_executed_is_126(plane: RunWorld, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    ended = plane.run(str(plain))
    assert (ended.returncode, ended.stderr) == (126, f"idplane: {plain}: Permission denied\n")


def test_script_without_interpreter_line_runs_in_the_shell(plane: RunWorld, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "ran $1"\n')
    script.chmod(0o755)
    assert plane.run(str(script), "here").stdout == "ran here\n"


def test_arguments_pass_verbatim(plane: RunWorld) -> None:
    words = ["", "a b", "--as", "--help", "--", "*", "$HOME", "caf\u00e9", "\udcff"]
    shown = plane.run(PYTHON, "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words)
    assert json.loads(shown.stdout) == words


def test_options_after_the_command_are_the_commands(plane: RunWorld) -> None:
    assert plane.idplane("run", "--as", "vm-a", "echo", "--json", "--", "-x").stdout == "--json -- -x\n"


def test_process_is_the_workload(plane: RunWorld) -> None:
    process = plane.start("sh", "-c", "echo $$; cat")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.communicate()


def test_stdin_passes(plane: RunWorld) -> None:
    process = plane.start("cat")
    assert process.communicate("through and through")[0] == "through and through"


def test_working_folder_and_umask_pass(plane: RunWorld, tmp_path: Path) -> None:
    shown = plane.run("sh", "-c", "pwd; umask", cwd=tmp_path, umask=0o027)
    assert shown.stdout.split() == [str(tmp_path), "0027"]


def test_signals_reach_the_workload(plane: RunWorld) -> None:
    process = plane.start("sh", "-c", 'trap "echo got; exit 7" USR1; echo up; while :; do sleep 0.01; done')
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    assert process.communicate()[0] == "got\n"
    assert process.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_death_by_signal_is_seen(plane: RunWorld, number: signal.Signals) -> None:
    process = plane.start("sh", "-c", "echo up; exec cat")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate()
    assert process.returncode == -number


def test_broken_pipe_ends_the_workload(plane: RunWorld) -> None:
    line = subprocess.list2cmdline(plane.command("run", "--data", str(plane.folder), "--as", "vm-a", "--", "yes"))
    ended = subprocess.run(
        ["bash", "-c", f"{line} | head -1; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True, check=True
    )
    assert ended.stdout.split() == ["y", str(128 + signal.SIGPIPE)]


def test_signal_dispositions_are_those_of_env(plane: RunWorld) -> None:
    show = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
    direct = subprocess.run(["env", *show], capture_output=True, text=True, check=True)
    assert _signal_sets(plane.run(*show).stdout) == _signal_sets(direct.stdout)


def _signal_sets(shown: str) -> dict[str, int]:
    """Without 32 and 33, which belong to the C library's threads (signal(7))."""
    lines = (line.split(":\t") for line in shown.splitlines())
    return {name: int(mask, 16) & ~(0b11 << 31) for name, mask in lines}


def test_terminal_passes(plane: RunWorld) -> None:
    leader, follower = pty.openpty()
    arguments = plane.command(
        "run", "--data", str(plane.folder), "--as", "vm-a", "--", "sh", "-c", "tty; test -t 0 && echo yes"
    )
    ended = subprocess.run(arguments, stdin=follower, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [os.ttyname(follower), "yes"]
    os.close(leader)
    os.close(follower)


def test_no_descriptor_is_inherited(plane: RunWorld) -> None:
    shown = plane.run(PYTHON, "-c", "import os; print(os.listdir('/proc/self/fd'))")
    assert sorted(json.loads(shown.stdout.replace("'", '"'))) == ["0", "1", "2", "3"]  # 3 lists the folder


def test_callers_own_descriptors_pass(plane: RunWorld) -> None:
    read, write = os.pipe()
    plane.run(PYTHON, "-c", f"import os; os.write({write}, b'through')", pass_fds=[write])
    os.close(write)
    assert os.read(read, 100) == b"through"
    os.close(read)


def test_closed_standard_input_stays_closed(plane: RunWorld) -> None:
    line = subprocess.list2cmdline(
        plane.command("run", "--data", str(plane.folder), "--as", "vm-a", "--", "readlink", "/proc/self/fd/0")
    )
    ended = subprocess.run(["bash", "-c", f"{line} <&-"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")


def test_locale_that_python_invents_is_not_passed(plane: RunWorld) -> None:
    base = {"PATH": os.environ["PATH"], "LC_ALL": ""}
    shown = plane.run("env", env=base)
    assert "LC_CTYPE" not in shown.stdout


def test_ids_are_the_callers(plane: RunWorld) -> None:
    show = ["sh", "-c", "id -u; id -g; whoami"]
    assert plane.run(*show).stdout == subprocess.run(show, capture_output=True, text=True, check=True).stdout


# What is inside


def test_metadata_endpoint_is_inside(plane: RunWorld) -> None:
    answer = json.loads(plane.run("curl", "-s", "http://169.254.169.254/metadata/identity/oauth2/token").stdout)
    assert (answer["host"], answer["dialect"]) == (str(VM_A), "imds")


@pytest.mark.parametrize("name", ["login.microsoftonline.com", "contoso.vault.azure.net", "any.vault.azure.net"])
def test_public_names_lead_here_and_are_trusted(plane: RunWorld, name: str) -> None:
    plain = ["env", "-u", "CURL_CA_BUNDLE", "-u", "SSL_CERT_FILE", "curl", "-sS", f"https://{name}/"]
    assert json.loads(plane.run(*plain).stdout) == {"served": "azure"}


def test_planes_own_address_works_inside(plane: RunWorld) -> None:
    assert json.loads(plane.run("curl", "-s", f"http://localhost:{PLANE_PORT}").stdout) == {"served": "plane"}


def test_other_names_do_not_exist_and_other_networks_are_unreachable(plane: RunWorld) -> None:
    program = (
        "import socket\n"
        "try: socket.getaddrinfo('example.com', 80)\n"
        "except socket.gaierror as error: print(error.errno == socket.EAI_NONAME)\n"
        "try: socket.create_connection(('192.0.2.1', 80), 1)\n"
        "except OSError as error: print(error.strerror)\n"
    )
    assert plane.run(PYTHON, "-c", program).stdout.splitlines() == ["True", "Network is unreachable"]


def test_names_answer_over_tcp_and_have_no_ipv6(plane: RunWorld) -> None:
    program = (
        "import dns.message, dns.query\n"
        "for kind in ('A', 'AAAA'):\n"
        "    for ask in (dns.query.udp, dns.query.tcp):\n"
        "        reply = ask(dns.message.make_query('x.vault.azure.net', kind), '168.63.129.16', timeout=5)\n"
        "        print(kind, reply.rcode(), [str(item) for rrset in reply.answer for item in rrset])\n"
    )
    assert plane.run(PYTHON, "-c", program).stdout.splitlines() == ["A 0 ['127.0.0.1']"] * 2 + ["AAAA 0 []"] * 2


def test_other_token_sources_are_taken_away(plane: RunWorld) -> None:
    confusing = {
        "IDENTITY_ENDPOINT": "http://evil",
        "MSI_SECRET": "x",
        "AZURE_FEDERATED_TOKEN_FILE": "/x",
        "HTTPS_PROXY": "http://p",
        "AZURE_AUTHORITY_HOST": "https://elsewhere",
    }
    shown = plane.run("env", env={**os.environ, **confusing, "KEPT": "yes"}).stdout
    assert not [name for name in confusing if f"{name}=" in shown]
    assert "KEPT=yes" in shown


# What stays outside


def test_outside_gets_nothing_from_the_metadata_address(plane: RunWorld) -> None:
    """The machine may have a metadata service of its own there, but never a run's."""
    process = plane.start("sh", "-c", "echo up; cat")
    assert process.stdout is not None
    process.stdout.readline()
    answer = b""
    with contextlib.suppress(OSError), socket.create_connection(("169.254.169.254", 80), 0.5) as outside:
        outside.sendall(b"GET /metadata/identity/oauth2/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
        answer = outside.recv(65536)
    assert str(VM_A).encode() not in answer
    assert plane.agent.open[-1].requests == 0
    process.communicate()


def test_each_run_reaches_its_own_listener_only(plane: RunWorld) -> None:
    first = plane.start("sh", "-c", "echo up; cat")
    assert first.stdout is not None
    first.stdout.readline()
    other = plane.folder.parent / "other"
    with run_world(other) as second:
        answer = json.loads(second.run("curl", "-s", "http://169.254.169.254/", resource=f"{VM_A}").stdout)
        assert answer["run"] not in {run.id for run in plane.runs.listing()}
    first.communicate()


@pytest.mark.parametrize(
    "attempt",
    [
        "nsenter -t {pid} -n curl -s http://169.254.169.254/",
        "nsenter -t {pid} -U -n curl -s http://169.254.169.254/",
        "unshare -Ur nsenter -t {pid} -n curl -s http://169.254.169.254/",
        "cat /proc/{pid}/environ",
        "ls /proc/{pid}/root/etc",
        "cat /proc/{pid}/maps",
    ],
)
def test_one_run_cannot_enter_another(plane: RunWorld, attempt: str) -> None:
    first = plane.start("sh", "-c", "echo up; exec cat")
    assert first.stdout is not None
    first.stdout.readline()
    ended = plane.run("sh", "-c", attempt.format(pid=first.pid))
    assert (ended.stdout, ended.returncode != 0) == ("", True)
    first.communicate()


def test_workload_sees_nothing_of_the_data_folder(plane: RunWorld) -> None:
    shown = plane.run("sh", "-c", f"ls {plane.folder}; cat {plane.folder}/operator.pem")
    for_java = {"java-truststore.p12"}  # where there is one
    assert set(shown.stdout.split()) - for_java == {"ca-bundle.pem", "empty", "hosts", "nsswitch.conf", "resolv.conf"}
    assert (plane.folder / "operator.pem").exists()


@pytest.mark.parametrize(
    "attempt",
    [
        "umount {folder}",
        "umount -l {folder}",
        "umount /etc/hosts",
        "mount -o remount,rw {folder}",
        "unshare -m umount -l {folder}",
        "unshare -Urm umount -l {folder}",
        "nsenter -t {outside} -m cat {folder}/operator.pem",
        "nsenter -t {outside} -U cat {folder}/operator.pem",
        "cat /proc/{outside}/root{folder}/operator.pem",
        "ip link set lo down",
        "ip addr del 169.254.169.254/32 dev lo",
    ],
)
def test_workload_cannot_undo_its_isolation(plane: RunWorld, attempt: str) -> None:
    command = attempt.format(folder=plane.folder, outside=os.getpid())
    ended = plane.run(
        "sh", "-c", f"{command}; test -e {plane.folder}/operator.pem || echo hidden; curl -s http://169.254.169.254/"
    )
    assert "the operator's key" not in ended.stdout
    assert ended.stdout.startswith("hidden\n{")


def test_workload_cannot_control_the_plane(plane: RunWorld, tmp_path: Path) -> None:
    """Even through another path to the socket than the hidden folder."""
    if os.getuid() != 0:
        pytest.skip("making another path to the folder needs root")
    other_way = tmp_path / "way"
    other_way.mkdir()
    subprocess.run(["mount", "--bind", plane.folder, other_way], check=True)
    try:
        ended = plane.run(*plane.command("token", "--data", str(other_way), "--as", "vm-b", "--resource", "x"))
    finally:
        subprocess.run(["umount", other_way], check=True)
    assert (ended.returncode, ended.stderr) == (1, "idplane: a process inside a run or a container may not control the plane\n")


def test_run_inside_a_run_finds_no_plane(plane: RunWorld) -> None:
    ended = plane.run(*plane.command("run", "--data", str(plane.folder), "--as", "vm-b", "--", "true"))
    assert ended.returncode == 1
    assert ended.stderr.startswith("idplane: no plane is running on")


def test_other_users_are_refused(plane: RunWorld) -> None:
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    program = (
        "import os, socket, sys\n"
        "descriptor = os.open(sys.argv[1], os.O_RDONLY)\n"
        "os.setuid(65534)\n"
        "try: socket.socket(socket.AF_UNIX).connect(f'/proc/self/fd/{descriptor}/control.sock')\n"
        "except OSError as error: print(error.strerror)\n"
    )
    ended = subprocess.run([PYTHON, "-c", program, plane.folder], capture_output=True, text=True, check=True)
    assert ended.stdout == "Permission denied\n"


def test_other_users_are_refused_even_if_the_file_lets_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    folder = tmp_path_factory.mktemp("open")
    with run_world(folder / "data") as world:
        for path in (world.folder, *world.folder.parents):
            with contextlib.suppress(OSError):
                path.chmod(path.stat().st_mode | 0o755)
        (world.folder / "control.sock").chmod(0o777)
        program = (
            "import os, socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); os.setuid(65534); s.connect(sys.argv[1]); print(s.recv(1000)[4:].decode())\n"
        )
        ended = subprocess.run(
            [PYTHON, "-c", program, world.folder / "control.sock"], capture_output=True, text=True, check=True
        )
    assert json.loads(ended.stdout) == {"failure": "FORBIDDEN", "detail": "this plane belongs to another user"}


def test_command_in_the_data_folder_is_refused(plane: RunWorld) -> None:
    ended = plane.run("cat", "operator.pem", cwd=plane.folder)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "change to another folder" in ended.stderr


# The run's life


def test_run_ends_with_its_process(plane: RunWorld) -> None:
    process = plane.start("sh", "-c", "echo up; cat")
    assert process.stdout is not None
    process.stdout.readline()
    (run,) = (run for run in plane.runs.listing() if run.pid == process.pid)
    listening = plane.agent.open[-1]
    process.kill()
    process.communicate()
    plane.wait_until(lambda: run.id not in {one.id for one in plane.runs.listing()})
    plane.wait_until(lambda: not listening.is_open())


def test_children_lose_the_endpoint_with_the_workload(plane: RunWorld) -> None:
    process = plane.start("sh", "-c", "(cat >/dev/null; curl -s -m 2 http://169.254.169.254/; echo $?) & exit 0")
    assert process.wait(20) == 0
    plane.wait_until(lambda: process.pid not in {run.pid for run in plane.runs.listing()})
    assert process.communicate()[0].strip() == "7"


def test_json_describes_the_run(plane: RunWorld) -> None:
    ended = plane.idplane("run", "--as", "vm-a", "--json", "--", "echo", "out")
    described = json.loads(ended.stderr)
    assert ended.stdout == "out\n"
    assert (described["resource"], described["isolation"], described["network"]) == (str(VM_A), "namespace", False)


# Refusals


@pytest.mark.parametrize(
    ("resource", "words"),
    [
        ("nobody", "idplane: there is no resource named 'nobody'\n"),
        ("vm-b", "idplane: 'vm-b' may mean any of these; use a full id: "),
        ("/x", "idplane: '/x' is not a resource id\n"),
    ],
)
def test_unclear_resource_is_refused(plane: RunWorld, resource: str, words: str) -> None:
    ended = plane.run("echo", "never", resource=resource)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(words)


@pytest.mark.parametrize(
    "arguments", [(), ("--as", "vm-a"), ("--as", "vm-a", "--bogus", "x"), ("--as", "vm-a", "--isolation", "x", "y")]
)
def test_wrong_usage_is_2(plane: RunWorld, arguments: tuple[str, ...]) -> None:
    assert plane.idplane("run", *arguments).returncode == 2


def test_network_without_a_program_for_it_is_refused(plane: RunWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(plane.folder))  # the control server that looks for one runs in this process
    ended = plane.idplane("run", "--as", "vm-a", "--network", "--", "true")
    assert (ended.returncode, "slirp4netns" in ended.stderr) == (1, True)


def test_forbidden_namespaces_are_explained(plane: RunWorld) -> None:
    forbid = (
        "import errno\nfrom idplane.cli import isolation\n"
        "def refuse(flags): raise OSError(errno.EPERM, 'x')\n"
        "isolation._unshare = refuse\n"
        "from idplane.cli.main import main; main()"
    )
    arguments = [PYTHON, "-c", forbid, "run", "--data", str(plane.folder), "--as", "vm-a", "--", "true"]
    ended = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr == (
        "idplane: this system does not let its users make namespaces (Operation not permitted): run with --isolation env instead\n"
    )


# Variables only


def test_env_isolation_gives_variables(plane: RunWorld) -> None:
    program = (
        "import json, os, urllib.request\n"
        "answer = json.load(urllib.request.urlopen(os.environ['IDENTITY_ENDPOINT']))\n"
        "print(json.dumps([answer['host'], answer['dialect'], answer['secret'] == os.environ['IDENTITY_HEADER']]))\n"
    )
    ended = plane.idplane("run", "--as", "vm-a", "--isolation", "env", "--", PYTHON, "-c", program)
    assert json.loads(ended.stdout) == [str(VM_A), "app-service", True]


def test_env_isolation_secrets_differ(plane: RunWorld) -> None:
    arguments = ("run", "--as", "vm-a", "--isolation", "env", "--", "printenv", "IDENTITY_HEADER")
    first, second = plane.idplane(*arguments).stdout, plane.idplane(*arguments).stdout
    assert first != second
    assert len(first.strip()) == 64


def test_env_isolation_with_a_network_option_is_wrong_usage(plane: RunWorld) -> None:
    assert plane.idplane("run", "--as", "vm-a", "--isolation", "env", "--network", "--", "true").returncode == 2
