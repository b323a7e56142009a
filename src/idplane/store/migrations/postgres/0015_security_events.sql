-- Security events for resources: streams, what waits to be handed over, what was last told of a principal, and how far the feed was read.
-- Only adds: the version before goes on working.
create table event_streams (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  audience text collate "C" not null,
  owner_id text collate "C" not null
);
create index event_streams_audience on event_streams (audience, key);
create index event_streams_owner_id on event_streams (owner_id, key);

create table queued_events (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  stream_id text collate "C" not null
);
create index queued_events_stream_id on queued_events (stream_id, key);

create table event_subjects (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null
);

create table event_cursors (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null
);
