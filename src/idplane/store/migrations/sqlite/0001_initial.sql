-- The collections and logs of ports/collections.py, for SQLite.
-- key: the record's identity; version: 1 when created, one more at each change; doc: the record as JSON; the rest repeats members
-- of doc that queries and constraints need. Every searched column has an index that ends in the key, so pages need no sorting.

create table tenants (
  key text primary key not null,
  version integer not null,
  doc text not null,
  domain text not null
) strict;
create index tenants_domain on tenants (domain, key);

create table subscriptions (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text not null
) strict;
create index subscriptions_tenant_id on subscriptions (tenant_id, key);

create table settings (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;

create table resources (
  key text primary key not null,
  version integer not null,
  doc text not null,
  type text not null,
  subscription_id text,
  group_key text,
  parent_key text references resources (key),
  name text not null
) strict;
create index resources_type on resources (type, key);
create index resources_subscription_id on resources (subscription_id, key);
create index resources_group_key on resources (group_key, key);
create index resources_parent_key on resources (parent_key, key);
create index resources_name on resources (name, key);
-- A vault's name is a host name: no two vaults share one, whatever group, subscription or tenant they are in.
create unique index resources_vault_name on resources (name) where type = 'microsoft.keyvault/vaults';

create table principals (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text not null,
  client_id text not null,
  type text not null,
  display_name text not null,
  resource_key text,
  unique (tenant_id, client_id)
) strict;
create index principals_tenant_id on principals (tenant_id, key);
create index principals_client_id on principals (client_id, key);
create index principals_type on principals (type, key);
create index principals_display_name on principals (display_name, key);
create index principals_resource_key on principals (resource_key, key);

create table identity_assignments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  host_key text not null references resources (key),
  principal_id text not null references principals (key),
  identity_key text
) strict;
create index identity_assignments_host_key on identity_assignments (host_key, key);
create index identity_assignments_principal_id on identity_assignments (principal_id, key);
create index identity_assignments_identity_key on identity_assignments (identity_key, key);

create table applications (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text not null,
  client_id text not null unique
) strict;
create index applications_tenant_id on applications (tenant_id, key);

create table credentials (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text not null references principals (key),
  client_id text not null,
  kind text not null,
  thumbprint text,
  host_key text,
  agent_id text
) strict;
create index credentials_principal_id on credentials (principal_id, key);
create index credentials_client_id on credentials (client_id, key);
create index credentials_kind on credentials (kind, key);
create index credentials_thumbprint on credentials (thumbprint, key);
create index credentials_host_key on credentials (host_key, key);
create index credentials_agent_id on credentials (agent_id, key);

create table agents (
  key text primary key not null,
  version integer not null,
  doc text not null,
  thumbprint text not null unique
) strict;

create table role_definitions (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text,
  role_name text not null,
  unique (tenant_id, role_name)
) strict;
create index role_definitions_tenant_id on role_definitions (tenant_id, key);
create index role_definitions_role_name on role_definitions (role_name, key);

create table role_assignments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text not null references principals (key),
  scope_key text not null,
  role_id text not null,
  anchor_key text references resources (key),
  unique (principal_id, role_id, scope_key)
) strict;
create index role_assignments_principal_id on role_assignments (principal_id, key);
create index role_assignments_scope_key on role_assignments (scope_key, key);
create index role_assignments_role_id on role_assignments (role_id, key);
create index role_assignments_anchor_key on role_assignments (anchor_key, key);

create table deny_assignments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  scope_key text not null
) strict;
create index deny_assignments_scope_key on deny_assignments (scope_key, key);

create table signing_keys (
  key text primary key not null,
  version integer not null,
  doc text not null,
  purpose text not null,
  state text not null
) strict;
create unique index signing_keys_one_active on signing_keys (purpose) where state = 'active';
create index signing_keys_purpose on signing_keys (purpose, key);
create index signing_keys_state on signing_keys (state, key);

create table secrets (
  key text primary key not null,
  version integer not null,
  doc text not null,
  vault_key text not null references resources (key),
  name text not null,
  sequence integer not null,
  deleted integer not null,
  unique (vault_key, name, sequence)
) strict;
create index secrets_vault_key on secrets (vault_key, key);
create index secrets_name on secrets (name, key);
create index secrets_deleted on secrets (vault_key, deleted, key);

-- The change feed: one row for each record written or removed, in the order of commits.
create table changes (
  position integer primary key autoincrement,
  collection text not null,
  key text not null,
  subject text,
  deleted integer not null
) strict;

-- The logs. at: microseconds since the epoch. Position is part of every index (it is the row id), so pages need no sorting.
create table activity_log (
  position integer primary key,
  doc text not null,
  at integer not null,
  tenant_id text not null,
  subscription_id text,
  resource_key text not null,
  correlation_id text not null,
  caller_id text not null
) strict;
create index activity_log_at on activity_log (at);
create index activity_log_tenant_id on activity_log (tenant_id, at);
create index activity_log_subscription_id on activity_log (subscription_id, at);
create index activity_log_resource_key on activity_log (resource_key, at);
create index activity_log_correlation_id on activity_log (correlation_id, at);
create index activity_log_caller_id on activity_log (caller_id, at);

create table sign_ins (
  position integer primary key,
  doc text not null,
  at integer not null,
  tenant_id text not null,
  principal_id text,
  client_id text not null,
  correlation_id text not null,
  token_id text,
  error_code integer not null
) strict;
create index sign_ins_at on sign_ins (at);
create index sign_ins_tenant_id on sign_ins (tenant_id, at);
create index sign_ins_principal_id on sign_ins (principal_id, at);
create index sign_ins_client_id on sign_ins (client_id, at);
create index sign_ins_correlation_id on sign_ins (correlation_id, at);
create index sign_ins_token_id on sign_ins (token_id, at);
create index sign_ins_error_code on sign_ins (error_code, at);

create trigger activity_log_keeps_updates before update on activity_log
begin
  select raise(abort, 'the activity log is append-only');
end;
create trigger activity_log_keeps_deletes before delete on activity_log
begin
  select raise(abort, 'the activity log is append-only');
end;
create trigger sign_ins_keeps_updates before update on sign_ins
begin
  select raise(abort, 'the sign-in log is append-only');
end;
create trigger sign_ins_keeps_deletes before delete on sign_ins
begin
  select raise(abort, 'the sign-in log is append-only');
end;
