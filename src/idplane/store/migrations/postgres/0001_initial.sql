-- The collections and logs of ports/collections.py, for PostgreSQL.
-- key: the record's identity; version: 1 when created, one more at each change; doc: the record as JSON; the rest repeats members
-- of doc that queries and constraints need. Every searched column has an index that ends in the key, so pages need no sorting.
-- Collation "C" compares bytes, as SQLite does: keys have one order everywhere.

create table tenants (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  domain text collate "C" not null
);
create index tenants_domain on tenants (domain, key);

create table subscriptions (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  tenant_id text collate "C" not null
);
create index subscriptions_tenant_id on subscriptions (tenant_id, key);

create table settings (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null
);

create table resources (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  type text collate "C" not null,
  subscription_id text collate "C",
  group_key text collate "C",
  parent_key text collate "C" references resources (key),
  name text collate "C" not null
);
create index resources_type on resources (type, key);
create index resources_subscription_id on resources (subscription_id, key);
create index resources_group_key on resources (group_key, key);
create index resources_parent_key on resources (parent_key, key);
create index resources_name on resources (name, key);
-- A vault's name is a host name: no two vaults share one, whatever group, subscription or tenant they are in.
create unique index resources_vault_name on resources (name) where type = 'microsoft.keyvault/vaults';

create table principals (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  tenant_id text collate "C" not null,
  client_id text collate "C" not null,
  type text collate "C" not null,
  display_name text collate "C" not null,
  resource_key text collate "C",
  unique (tenant_id, client_id)
);
create index principals_tenant_id on principals (tenant_id, key);
create index principals_client_id on principals (client_id, key);
create index principals_type on principals (type, key);
create index principals_display_name on principals (display_name, key);
create index principals_resource_key on principals (resource_key, key);

create table identity_assignments (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  host_key text collate "C" not null references resources (key),
  principal_id text collate "C" not null references principals (key),
  identity_key text collate "C"
);
create index identity_assignments_host_key on identity_assignments (host_key, key);
create index identity_assignments_principal_id on identity_assignments (principal_id, key);
create index identity_assignments_identity_key on identity_assignments (identity_key, key);

create table applications (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  tenant_id text collate "C" not null,
  client_id text collate "C" not null unique
);
create index applications_tenant_id on applications (tenant_id, key);

create table credentials (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key),
  client_id text collate "C" not null,
  kind text collate "C" not null,
  thumbprint text collate "C",
  host_key text collate "C",
  agent_id text collate "C"
);
create index credentials_principal_id on credentials (principal_id, key);
create index credentials_client_id on credentials (client_id, key);
create index credentials_kind on credentials (kind, key);
create index credentials_thumbprint on credentials (thumbprint, key);
create index credentials_host_key on credentials (host_key, key);
create index credentials_agent_id on credentials (agent_id, key);

create table agents (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  thumbprint text collate "C" not null unique
);

create table role_definitions (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  tenant_id text collate "C",
  role_name text collate "C" not null,
  unique (tenant_id, role_name)
);
create index role_definitions_tenant_id on role_definitions (tenant_id, key);
create index role_definitions_role_name on role_definitions (role_name, key);

create table role_assignments (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key),
  scope_key text collate "C" not null,
  role_id text collate "C" not null,
  anchor_key text collate "C" references resources (key),
  unique (principal_id, role_id, scope_key)
);
create index role_assignments_principal_id on role_assignments (principal_id, key);
create index role_assignments_scope_key on role_assignments (scope_key, key);
create index role_assignments_role_id on role_assignments (role_id, key);
create index role_assignments_anchor_key on role_assignments (anchor_key, key);

create table deny_assignments (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  scope_key text collate "C" not null
);
create index deny_assignments_scope_key on deny_assignments (scope_key, key);

create table signing_keys (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  purpose text collate "C" not null,
  state text collate "C" not null
);
create unique index signing_keys_one_active on signing_keys (purpose) where state = 'active';
create index signing_keys_purpose on signing_keys (purpose, key);
create index signing_keys_state on signing_keys (state, key);

create table secrets (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  vault_key text collate "C" not null references resources (key),
  name text collate "C" not null,
  sequence bigint not null,
  deleted bigint not null,
  unique (vault_key, name, sequence)
);
create index secrets_vault_key on secrets (vault_key, key);
create index secrets_name on secrets (name, key);
create index secrets_deleted on secrets (vault_key, deleted, key);

-- The change feed: one row for each record written or removed, in the order of commits.
create table changes (
  position bigint primary key,
  collection text collate "C" not null,
  key text collate "C" not null,
  subject text collate "C",
  deleted bigint not null
);

-- The feed's end, one row. Whoever commits records locks it first and holds it until the commit: positions are in the order of
-- commits, none is ever skipped, and what a transaction has checked stays true until it ends.
create table feed_end (
  only_row boolean primary key default true check (only_row),
  position bigint not null
);
insert into feed_end (position) values (0);

-- The logs. at: microseconds since the epoch. Every index ends in the position, so pages need no sorting.
create table activity_log (
  position bigint generated always as identity primary key,
  doc text not null,
  at bigint not null,
  tenant_id text collate "C" not null,
  subscription_id text collate "C",
  resource_key text collate "C" not null,
  correlation_id text collate "C" not null,
  caller_id text collate "C" not null
);
create index activity_log_at on activity_log (at, position);
create index activity_log_tenant_id on activity_log (tenant_id, at, position);
create index activity_log_subscription_id on activity_log (subscription_id, at, position);
create index activity_log_resource_key on activity_log (resource_key, at, position);
create index activity_log_correlation_id on activity_log (correlation_id, at, position);
create index activity_log_caller_id on activity_log (caller_id, at, position);

create table sign_ins (
  position bigint generated always as identity primary key,
  doc text not null,
  at bigint not null,
  tenant_id text collate "C" not null,
  principal_id text collate "C",
  client_id text collate "C" not null,
  correlation_id text collate "C" not null,
  token_id text collate "C",
  error_code bigint not null
);
create index sign_ins_at on sign_ins (at, position);
create index sign_ins_tenant_id on sign_ins (tenant_id, at, position);
create index sign_ins_principal_id on sign_ins (principal_id, at, position);
create index sign_ins_client_id on sign_ins (client_id, at, position);
create index sign_ins_correlation_id on sign_ins (correlation_id, at, position);
create index sign_ins_token_id on sign_ins (token_id, at, position);
create index sign_ins_error_code on sign_ins (error_code, at, position);

-- An event's position is taken while a shared lock is held until its commit; whoever follows a log takes the lock alone for a moment
-- first, so that no event can appear behind what it has read.
create function take_turn_in_log() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock_shared(1768190060, hashtext(tg_table_name));
  return null;
end;
$$;
create trigger activity_log_turns before insert on activity_log for each statement execute function take_turn_in_log();
create trigger sign_ins_turns before insert on sign_ins for each statement execute function take_turn_in_log();

create function keep_log() returns trigger language plpgsql as $$
begin
  raise exception 'the log % is append-only', tg_table_name;
end;
$$;
create trigger activity_log_keeps before update or delete or truncate on activity_log
for each statement execute function keep_log();
create trigger sign_ins_keeps before update or delete or truncate on sign_ins
for each statement execute function keep_log();
