-- How hosts prove what they are, and what becomes of their agents. Only adds: the version before goes on working.
alter table agents add column enrollment_id text collate "C";
alter table agents add column host_key text collate "C";
create index agents_enrollment_id on agents (enrollment_id, key);
create index agents_host_key on agents (host_key, key);

create table agent_sightings (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null
);

create table enrollments (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  host_key text collate "C" not null references resources (key),
  enrollment_id text collate "C" not null unique,
  method text collate "C" not null,
  pin text collate "C" not null
);
create index enrollments_host_key on enrollments (host_key, key);
create index enrollments_method on enrollments (method, key);
create index enrollments_pin on enrollments (pin, key);

create table carriages (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  enrollment_id text collate "C" not null,
  resource_key text collate "C" not null references resources (key)
);
create index carriages_enrollment_id on carriages (enrollment_id, key);
create index carriages_resource_key on carriages (resource_key, key);

create table join_tokens (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  enrollment_id text collate "C" not null
);
create index join_tokens_enrollment_id on join_tokens (enrollment_id, key);

create table spent_proofs (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null
);
