"""One run from beginning to end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faults import afterwards
from faults.allowances import RULES, SETTLE, FaultName
from faults.catalogue import FAULTS
from faults.judge import Judgement, Window, judge
from faults.recorder import Recorder
from faults.scan import Needles, files_below, process_texts, tables_of
from faults.stage.installation import VAULT, Installation
from faults.stage.programs import Sample, StageError, sample
from faults.stage.servers import PUBLIC_NAME
from faults.verifier import Verifier

__all__ = ["Run", "perform"]

HOSTS: Final = ("north", "south", "west")
_WARM: Final = 5.0
_CALM: Final = 1.5
_LOOK: Final = 0.2
_SDKS: Final = {
    "north": ("azure-identity:imds", "msal:app-service"),
    "south": ("msal:imds", "default:app-service"),
    "west": ("azure-identity:arc", "secret-client:imds"),
}
"""Which SDKs run on which host, and by which dialect they ask."""


@dataclass(kw_only=True)
class Run:
    """What came of a run."""

    judgement: Judgement
    troubles: list[str] = field(default_factory=list)
    """Whatever is wrong beside forbidden failures."""
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Whether everything is as the design has it."""
        return not self.troubles and not self.judgement.forbidden


def perform(folder: Path, faults: Sequence[FaultName], *, hosts: Sequence[str] = HOSTS, say: Callable[[str], None]) -> Run:
    """Everything: start, load, faults, checks, end. Raises `StageError` where the stage cannot be made."""
    began = time.monotonic()
    recorder = Recorder(folder=folder / "load")
    recorder.folder.mkdir()
    stage = Installation.open(folder, hosts=hosts)
    say(f"an installation with {len(stage.hosts)} hosts in {time.monotonic() - began:.0f} s")
    verifier = Verifier(ca_file=stage.operator.ca_file, tenant=stage.operator.plane["tenant_id"], note=recorder.note)
    recorder.token_listener = verifier.show
    verifier.start()
    clients = _everybody_well(recorder, _start_loads(recorder, stage))
    time.sleep(_WARM)
    before = {one.name: held for one in stage.idplane_programs() if (held := sample(one.pid)) is not None}
    windows, troubles = [], []
    for name in faults:
        try:
            windows.append(_happen(name, stage, recorder, clients))
        except StageError as error:
            troubles.append(f"{name}: {error}")
            break
        lasted = windows[-1].end - windows[-1].start
        say(f"{name}: {lasted:.1f} s, and {windows[-1].settled - windows[-1].end:.1f} s until all were well")
    time.sleep(_CALM)
    recorder.stop()
    verifier.stop()
    judgement = judge(recorder.outcomes, windows, RULES)
    troubles += _afterwards(stage, recorder, verifier, before)
    troubles += _scanned(stage, recorder)
    after = {one.name: dataclasses.asdict(now) for one in stage.idplane_programs() if (now := sample(one.pid)) is not None}
    troubles += stage.close()
    troubles += afterwards.left_behind(recorder)
    troubles += afterwards.troubles_in_logs(stage.logs)
    troubles += afterwards.troubles_in_logs(recorder.folder)
    figures: dict[str, object] = {
        "requests": len(recorder.outcomes),
        "tokens": len(recorder.tokens),
        "writes": recorder.ledger.acknowledged,
        "seconds": round(time.monotonic() - began, 1),
        "processes": after,
    }
    return Run(judgement=judgement, troubles=troubles, figures=figures)


def _start_loads(recorder: Recorder, stage: Installation) -> frozenset[str]:
    """Begin; the clients that take long to be heard for the first time."""
    slow = []
    common = {"server": PUBLIC_NAME, "ca_file": str(stage.operator.ca_file), "secret": stage.secret}
    vault = f"{VAULT}.vault.{PUBLIC_NAME}"
    for host in stage.hosts:
        endpoints = [
            {"dialect": dialect, "variables": host.variables(dialect), "identity": host.identity} for dialect in host.dialects
        ]
        workload = {"variables": host.variables("workload-identity"), "identity": host.workload["principalId"]}
        wanted = {**common, "host": host.name, "vault": vault, "endpoints": endpoints, "workload": workload}
        recorder.start(f"raw-{host.name}", "raw", host.place, wanted, clock=host.clock)
        for sdk in _SDKS.get(host.name, ()):
            way, _, dialect = sdk.partition(":")
            client = f"sdk/{way}/{host.name}"
            variables = {**host.variables(dialect), "REQUESTS_CA_BUNDLE": str(stage.operator.ca_file)}
            order = {**common, "way": way, "client": client, "identity": host.identity, "variables": variables}
            name = client.replace("/", "-")
            slow.append(client)
            # Without the host's clock: under libfaketime the pauses between their retries fail now and then (EINVAL).
            recorder.start(name, "sdk", host.place, {**order, "vault_url": f"https://{vault}"})
    managed = {"name": "w", "writers": 3, "group": stage.operator.group, "operator_file": str(stage.operator.file)}
    recorder.start("management", "management", stage.balancer_place, {**common, **managed, "plane": dict(stage.operator.plane)})
    return frozenset(slow)


def _everybody_well(recorder: Recorder, slow: frozenset[str], *, seconds: float = 40.0) -> frozenset[str]:
    """Wait until every client that asked at all, and all the slow ones, had a success; who they are. Raises `StageError` otherwise."""
    until = time.monotonic() + seconds
    time.sleep(_WARM)
    while True:
        outcomes = list(recorder.outcomes)
        asked, well = {one.client for one in outcomes}, {one.client for one in outcomes if one.result == "ok"}
        if asked and asked == well and slow <= well:
            return frozenset(well)
        if time.monotonic() > until:
            last = [f"{one.client}: {one.kind}: {one.result} {one.detail}" for one in outcomes if one.client not in well]
            raise StageError("before any fault, these had no success: " + "; ".join(last[-5:]))
        time.sleep(_LOOK)


def _happen(name: FaultName, stage: Installation, recorder: Recorder, clients: Iterable[str]) -> Window:
    """One fault, and the time that everybody needs to be well again, which the fault bounds."""
    start = time.monotonic()
    silence = FAULTS[name](stage)
    end = time.monotonic()
    waiting = set(clients)
    while waiting and time.monotonic() < end + SETTLE[name]:
        time.sleep(_LOOK)
        waiting -= recorder.successful(end)
    # Failures that began before everybody was well may still come in; what begins from here on may not fail.
    settled = time.monotonic()
    time.sleep(_CALM)
    return Window(fault=name, start=start, end=end, settled=settled, silence=silence)


def _afterwards(stage: Installation, recorder: Recorder, verifier: Verifier, before: Mapping[str, Sample]) -> Iterator[str]:
    yield from afterwards.lost_writes(stage, recorder.ledger)
    yield from afterwards.unrecorded_tokens(stage, verifier.records)
    yield from afterwards.disagreements(stage)
    yield from afterwards.unhealthy(stage)
    yield from afterwards.grown(before, stage)
    yield from afterwards.zombies(stage.idplane_programs())


def _scanned(stage: Installation, recorder: Recorder) -> Iterator[str]:
    """Anything that a run must keep to itself, in anything that it wrote."""
    needles = Needles(_secrets(stage, recorder))
    secret_files = [
        stage.operator.file,
        *(one.custody for one in stage.servers),
        *(one.folder / "pgpass" for one in stage.servers),
    ]
    secret_files += [file for host in stage.hosts for file in host.private_files]
    texts = list(tables_of(stage.database.dump()))
    texts += [(f"metrics of {one.name}", one.metrics()) for one in stage.servers]
    texts += [(f"health of {one.name}", one.health()) for one in stage.hosts]
    own = (stage.folder / "traces", *(one.folder for one in stage.servers), *(one.folder for one in stage.hosts))
    for folder in (stage.logs, recorder.folder, stage.operator.folder, *own):
        texts += [(f"{folder.name}/{name}", content) for name, content in files_below(folder, but=secret_files)]
    for program in stage.programs():
        texts += [(f"{program.name}: {name}", content) for name, content in process_texts(program.pid)]
    for where, content in texts:
        yield from map(str, needles.search(where, content))


def _secrets(stage: Installation, recorder: Recorder) -> Iterator[tuple[str, str]]:
    # What a token says is in records, and so is a certificate's name; its signature alone makes it one.
    yield from (("a token", token.rpartition(".")[2]) for token in (*recorder.tokens, *stage.operator.told))
    yield from (("a secret of a workload", secret) for secret in recorder.secrets)
    yield from (("a join token", host.join_token) for host in stage.hosts)
    yield "the database's password", stage.database.password
    yield "the vault's secret", stage.secret
    for file in (stage.operator.file, *(one.custody for one in stage.servers)):
        content = file.read_text(encoding="latin-1")
        yield f"the private key in {file.name}", content.partition("PRIVATE KEY-----")[2].partition("-----END")[0] or content
