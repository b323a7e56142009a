-- How hosts prove what they are, and what becomes of their agents. Only adds: the version before goes on working.
alter table agents add column enrollment_id text;
alter table agents add column host_key text;
create index agents_enrollment_id on agents (enrollment_id, key);
create index agents_host_key on agents (host_key, key);

create table agent_sightings (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;

create table enrollments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  host_key text not null references resources (key),
  enrollment_id text not null unique,
  method text not null,
  pin text not null
) strict;
create index enrollments_host_key on enrollments (host_key, key);
create index enrollments_method on enrollments (method, key);
create index enrollments_pin on enrollments (pin, key);

create table carriages (
  key text primary key not null,
  version integer not null,
  doc text not null,
  enrollment_id text not null,
  resource_key text not null references resources (key)
) strict;
create index carriages_enrollment_id on carriages (enrollment_id, key);
create index carriages_resource_key on carriages (resource_key, key);

create table join_tokens (
  key text primary key not null,
  version integer not null,
  doc text not null,
  enrollment_id text not null
) strict;
create index join_tokens_enrollment_id on join_tokens (enrollment_id, key);

create table spent_proofs (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;
