"""The server: its surfaces, composed for a world. Any number of replicas may share one store. Straight-line; nothing here decides anything."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from idplane.arm.kernel import ResourceManager
from idplane.arm.registry import Registry
from idplane.arm.requests import Kernel
from idplane.audit.activity import activity_event
from idplane.audit.refused import RefusedRequests
from idplane.audit.retention import LogRetention
from idplane.bootstrap.attesting import attestation
from idplane.bootstrap.certificates import ListenerCertificates, context_for
from idplane.bootstrap.event_push import HttpEventReceivers
from idplane.bootstrap.feed_upkeep import FEED_ROWS, FeedUpkeep
from idplane.bootstrap.issuer_documents import HttpIssuerDocuments
from idplane.bootstrap.leases import Duties, Duty, Leases
from idplane.bootstrap.log_keeping import LogKeeping
from idplane.bootstrap.portal import PortalParts
from idplane.bootstrap.seed import Installation, ensure_installation
from idplane.bootstrap.world import World
from idplane.directory import identities
from idplane.directory.agents import AgentDirectory
from idplane.directory.audiences import Audiences, hosts_of
from idplane.directory.feed_tail import FeedTail
from idplane.directory.first_party import ensure_first_party
from idplane.directory.hosts import HostDirectory
from idplane.directory.refusals import RefusalKeeper
from idplane.directory.sightings import Sightings
from idplane.explain.diagnosis import Diagnosis
from idplane.graph.catalogue import ENTITY_SETS
from idplane.graph.service import DirectoryService
from idplane.keys import CredentialAuthority, KeyRing, TlsAuthority, TlsIdentity
from idplane.model.azure import PUBLIC_HOSTS
from idplane.model.failure import Failure
from idplane.ports.issuers import IssuerDocuments
from idplane.providers import PROVIDERS
from idplane.providers.administrators import keep_administrators
from idplane.providers.token_revocation import INTROSPECT, STREAMS
from idplane.rbac import AccessControl
from idplane.sts import DeviceCodes, RefusalLog, SignInUpkeep, TokenAuthenticator, TokenService
from idplane.sts.event_streams import EventStreams
from idplane.sts.inspectors import Inspectors
from idplane.sts.introspection import Introspection
from idplane.sts.security_events import SecurityEvents
from idplane.vault import SecretVault
from idplane.web.admission import Admission
from idplane.web.agent_trust import AgentTrust
from idplane.web.agents import AgentSurface
from idplane.web.app import ServerApp, Surfaces
from idplane.web.arm_errors import describe, explain
from idplane.web.authority import AuthoritySurface
from idplane.web.decisions import DecisionSurface
from idplane.web.enrollments import EnrollmentApi
from idplane.web.graph import GraphSurface
from idplane.web.graph_errors import describe as describe_graph
from idplane.web.log import LogSurface
from idplane.web.management import ManagementSurface
from idplane.web.origins import Origins
from idplane.web.portal.late import LateSurface
from idplane.web.proxy_header import Proxies
from idplane.web.security_events import SecurityEventSurface
from idplane.web.serving import Listener
from idplane.web.vault import VaultSurface
from idplane.web.watched import watched

if TYPE_CHECKING:
    from idplane.sts.sign_in_provider import SignInProvider

__all__ = ["ReplicaLimits", "Server", "context_for"]

_MANAGEMENT_AUDIENCES = frozenset(
    {
        *(f"https://{host}{slash}" for host in PUBLIC_HOSTS["management"] for slash in ("", "/")),
        "797f4846-ba00-4fd7-ba43-dac1f8f63013",
    }
)
"""Resource Manager's names in Azure, and its application id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaLimits:
    """What one server among several keeps to."""

    staleness: float = 5.0
    """Seconds for which it may not have known the feed's end; beyond them it answers nothing that rests on what it remembers."""
    feed_rows: int = FEED_ROWS


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running composition. `close` leaves the store to whoever opened it."""

    world: World
    installation: Installation
    ring: KeyRing
    manager: ResourceManager
    tls: TlsAuthority
    vault: SecretVault
    sign_ins: SignInUpkeep
    retention: LogRetention
    credentials: CredentialAuthority
    certificates: ListenerCertificates
    sightings: Sightings
    refused: RefusedRequests
    refusals: RefusalKeeper
    events: SecurityEvents
    log: LogKeeping
    surfaces: Surfaces
    stop_listening: tuple[Callable[[], None], ...]
    end_waiting: Callable[[], None]
    """Answers requests that wait for something to happen: the process is about to end."""
    feed: FeedUpkeep
    limits: ReplicaLimits
    admission: Admission = field(default_factory=Admission)
    """Of all its listeners together."""
    extra_duties: tuple[Duty, ...] = ()
    """What parts that are not named above have to do in the background."""

    @classmethod
    async def open(  # noqa: PLR0913 - what a server may be given, spelled out
        cls,
        world: World,
        *,
        names: Sequence[str] = (),
        limits: ReplicaLimits | None = None,
        checkpoint_file: Path | None = None,
        documents: IssuerDocuments | None = None,
        anchors: Callable[[], bytes] | None = None,
        provider: SignInProvider | None = None,
    ) -> Server:
        """Compose a server over a store that may be empty or hold an installation.

        `names` are hosts and addresses beyond the machine's own that its certificates are to be for. `checkpoint_file` is where the log's
        newest checkpoint is written, and held against the database at the next start. `documents` is the door to outside issuers, if it
        shall be another one than the network's. `anchors` reads the authority behind the listeners' certificates, PEM, where it is not the
        installation's own. `provider` is the issuer that people sign in to the portal at, beside links.
        """
        limits = limits or ReplicaLimits()
        installation = await ensure_installation(world)
        log = await LogKeeping.open(world, tenant_id=installation.tenant.id, file=checkpoint_file)
        store, custody, clock, entropy = world.store, world.custody, world.clock, world.entropy
        await ensure_first_party(store, tenant_id=installation.tenant.id, entropy=entropy, now=clock.now())
        ring = await KeyRing.open(store=store, custody=custody, clock=clock, entropy=entropy, profile=world.profile)
        authority = await CredentialAuthority.open(
            store=store, custody=custody, clock=clock, entropy=entropy, profile=world.profile
        )
        tls = await TlsAuthority.open(store=store, custody=custody, clock=clock, entropy=entropy, hosts=names)
        documents = documents or HttpIssuerDocuments()
        access = AccessControl(store=store, clock=world.clock, telemetry=world.telemetry)
        authenticator = TokenAuthenticator(store=store, ring=ring, clock=clock, vouched=authority.vouched)
        tokens = TokenService(
            store=store,
            ring=ring,
            audiences=Audiences(store=store, own_hosts=hosts_of(names)),
            clock=clock,
            entropy=entropy,
            profile=world.profile,
            authenticator=authenticator,
            documents=documents,
            vouched=authority.vouched,
            telemetry=world.telemetry,
        )
        devices = DeviceCodes(store=store, clock=clock, entropy=entropy)
        refusals = RefusalKeeper(store=store, clock=clock, telemetry=world.telemetry)
        manager = ResourceManager(
            Kernel(
                store=store,
                clock=clock,
                entropy=entropy,
                profile=world.profile,
                registry=Registry(PROVIDERS),
                authenticator=authenticator,
                audiences=_MANAGEMENT_AUDIENCES,
                access=access,
                identities=identities,
                record=activity_event,
                describe=describe,
                explain=explain,
                keep=keep_administrators,
                custody=custody,
                vouch=log.vouched,
                diagnostics=Diagnosis(
                    refusals=refusals,
                    store=store,
                    access=access,
                    clock=clock,
                    profile=world.profile,
                    home_tenant=installation.tenant.id,
                ),
            )
        )
        vault = SecretVault(
            store=store,
            custody=custody,
            access=access,
            clock=clock,
            entropy=entropy,
            profile=world.profile,
        )
        directory = DirectoryService(
            store=store,
            clock=clock,
            entropy=entropy,
            profile=world.profile,
            access=access,
            authenticator=authenticator,
            sets=ENTITY_SETS,
            describe=describe_graph,
        )
        inspectors = Inspectors(store=store, access=access)
        introspection = Introspection(
            store=store,
            clients=tokens,
            tokens=authenticator,
            audiences=Audiences(store=store),
            inspectors=inspectors,
            action=INTROSPECT,
            clock=clock,
        )
        shared = SecurityEvents(
            store=store,
            signer=ring,
            receivers=HttpEventReceivers(),
            inspectors=inspectors,
            action=STREAMS,
            custody=custody,
            clock=clock,
            entropy=entropy,
            telemetry=world.telemetry,
        )
        streams = EventStreams(
            store=store,
            signer=ring,
            audiences=Audiences(store=store),
            inspectors=inspectors,
            action=STREAMS,
            custody=custody,
            clock=clock,
            entropy=entropy,
        )
        sightings = Sightings(store=store, clock=clock)
        agents = AgentDirectory(
            store=store, authority=authority, sightings=sightings, clock=clock, entropy=entropy, profile=world.profile
        )
        hosts, tail = HostDirectory(store=store, authority=authority), FeedTail(store=store)
        joining = attestation(world, authority, installation.tenant.id, documents)
        surface = AgentSurface(
            agents=agents,
            enrollments=EnrollmentApi(attestation=joining, agents=agents, chain=authority, clock=clock),
            hosts=hosts,
            projected=tokens.projected,
            refusals=RefusalLog(store=store, clock=clock, entropy=entropy, kept=refusals),
            trust=AgentTrust(tls=tls, credentials=authority, elsewhere=anchors),
            store=store,
            tail=tail,
            clock=clock,
            is_current=lambda: store.freshness() <= limits.staleness,
        )
        surfaces = Surfaces(
            authority=AuthoritySurface(tokens=tokens, devices=devices, ring=ring, store=store, inspector=introspection),
            management=ManagementSurface(manager=manager, home_tenant=installation.tenant.id),
            graph=GraphSurface(service=directory),
            vault=VaultSurface(vault=vault, authenticator=authenticator, store=store),
            agents=surface,
            log=LogSurface(log),
            events=SecurityEventSurface(streams=streams, tokens=authenticator, store=store, home_tenant=installation.tenant.id),
        )
        portal = PortalParts(
            world=world,
            manager=manager,
            directory=directory,
            access=access,
            home_tenant=installation.tenant.id,
            provider=provider,
        )
        decision = DecisionSurface(
            access=access,
            authenticator=authenticator,
            store=store,
            entropy=entropy,
            refusals=refusals,
            home_tenant=installation.tenant.id,
        )
        surfaces = replace(surfaces, portal=LateSurface(portal.surface), decision=decision)
        refused = RefusedRequests(store=store, clock=clock, entropy=entropy, tenant_id=installation.tenant.id)
        subscriptions = (world.store.subscribe(ring.apply), agents.close, hosts.close, tail.close, log.keys.close)
        return cls(
            world=world,
            installation=installation,
            ring=ring,
            manager=manager,
            tls=tls,
            vault=vault,
            sign_ins=SignInUpkeep(store=store),
            retention=LogRetention(store=store, profile=world.profile, record=log.trimmed),
            credentials=authority,
            certificates=ListenerCertificates(tls=tls, credentials=authority, clock=clock),
            sightings=sightings,
            refused=refused,
            refusals=refusals,
            events=shared,
            log=log,
            surfaces=watched(surfaces, refused=refused, look=agents.look),
            stop_listening=subscriptions,
            end_waiting=surface.end_waiting,
            feed=FeedUpkeep(store=store, keep=limits.feed_rows),
            limits=limits,
            extra_duties=(Duty(name="purge of ended portal sign-ins", turn=portal.purge),),
        )

    def app(self, origins: Origins) -> ServerApp:
        """The server as one listener shows it."""
        return ServerApp(
            surfaces=self.surfaces,
            origins=origins,
            clock=self.world.clock,
            entropy=self.world.entropy,
            telemetry=self.world.telemetry,
            is_current=self.is_current,
            refusals=self.refusals,
            admission=self.admission,
        )

    def is_current(self) -> bool:
        """Whether this server knows enough of what the others do to answer for it."""
        return self.world.store.freshness() <= self.limits.staleness

    async def listen(
        self,
        sock: socket.socket,
        *,
        origins: Origins | None = None,
        identity: Callable[[], TlsIdentity] | None = None,
        proxies: Proxies | None = None,
    ) -> Listener:
        """Serve `origins`, or else this machine's own names, on a bound socket.

        TLS is with what `identity` gives at each turn of the certificates' duty, or else with a certificate from the installation's CA.
        Connections from `proxies` begin with a PROXY header.
        """
        origins = origins or Origins.local(sock.getsockname()[1])
        listener = Listener(self.app(origins), proxies=proxies)
        await self.certificates.listen(listener, sock, identity=identity, watched=identity, names=origins.tls_names)
        return listener

    async def duties(self, leases: Leases | None = None) -> None:
        """What happens by itself, until cancelled: all of it, or with `leases` what falls to this server."""
        await Duties(self.duty_list(), clock=self.world.clock, leases=leases, telemetry=self.world.telemetry).run()

    def duty_list(self) -> tuple[Duty, ...]:
        """Keys rotate; deleted secrets, ended sign-ins, old log events and old changes go in time."""
        now = self.world.clock.now
        return (
            Duty(name="sequencing of the logs", turn=self.log.turn),
            Duty(name="following of the logs", turn=self.log.follow, every_replica=True),
            # Each server reads the keys in its turn, so that even one that heard of nothing signs with the right one.
            Duty(name="key rotation", turn=self.ring.turn, every_replica=True),
            Duty(name="succession of authorities", turn=self._turn_authorities, every_replica=True),
            Duty(name="renewal of listeners' certificates", turn=self.certificates.turn, every_replica=True),
            Duty(name="purge of deleted secrets", turn=lambda: self.vault.purge_due(now())),
            Duty(name="purge of ended sign-ins", turn=lambda: self.sign_ins.purge_due(now())),
            Duty(name="removal of old log events", turn=self._trim_logs),
            Duty(name="trimming of the feed", turn=self.feed.turn),
            Duty(name="notes of when agents were seen", turn=self.sightings.turn, every_replica=True),
            Duty(name="records of refused requests", turn=self.refused.turn, every_replica=True),
            Duty(name="removal of old refusals", turn=self.refusals.turn),
            Duty(name="security events", turn=self.events.run),
            *self.extra_duties,
        )

    async def _turn_authorities(self) -> datetime:
        return min(await self.credentials.turn(), await self.tls.turn())

    async def _trim_logs(self) -> None:
        await self.retention.turn(self.world.clock.now())

    async def turn(self) -> datetime:
        """One pass of all duties, for whoever moves the clock by hand; when the next thing is due."""
        await self.refused.turn()
        await self.refusals.turn()
        await self.log.turn()
        await self._trim_logs()
        await self.log.turn()
        dues = (
            await self.ring.turn(),
            await self._turn_authorities(),
            await self.certificates.turn(),
            await self.vault.purge_due(self.world.clock.now()),
            await self.sign_ins.purge_due(self.world.clock.now()),
        )
        return min(due for due in dues if due is not None)

    async def close(self) -> None:
        """End deployments that still run, and sign what was recorded last."""
        await self.manager.close()
        await self.refusals.close()
        with suppress(Failure):  # a store that is away: whoever comes next signs
            await self.refused.turn()
            await self.log.turn()
        for stop in self.stop_listening:
            stop()
        self.credentials.close()
        self.tls.close()
