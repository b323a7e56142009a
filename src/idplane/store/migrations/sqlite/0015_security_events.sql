-- Security events for resources: streams, what waits to be handed over, what was last told of a principal, and how far the feed was read.
-- Only adds: the version before goes on working.
create table event_streams (
  key text primary key not null,
  version integer not null,
  doc text not null,
  audience text not null,
  owner_id text not null
) strict;
create index event_streams_audience on event_streams (audience, key);
create index event_streams_owner_id on event_streams (owner_id, key);

create table queued_events (
  key text primary key not null,
  version integer not null,
  doc text not null,
  stream_id text not null
) strict;
create index queued_events_stream_id on queued_events (stream_id, key);

create table event_subjects (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;

create table event_cursors (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;
