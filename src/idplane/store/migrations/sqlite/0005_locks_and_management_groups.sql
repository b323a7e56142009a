-- Locks, and the tree of management groups between a tenant and its subscriptions.
create table management_groups (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text not null,
  parent_key text references management_groups (key)
) strict;
create index management_groups_tenant_id on management_groups (tenant_id, key);
create index management_groups_parent_key on management_groups (parent_key, key);

alter table subscriptions add column management_group_key text references management_groups (key);
create index subscriptions_management_group_key on subscriptions (management_group_key, key);

create table subscription_aliases (
  key text primary key not null,
  version integer not null,
  doc text not null,
  tenant_id text not null,
  subscription_id text not null references subscriptions (key)
) strict;
create index subscription_aliases_tenant_id on subscription_aliases (tenant_id, key);
create index subscription_aliases_subscription_id on subscription_aliases (subscription_id, key);

-- What stands at a management group goes with it.
alter table role_assignments add column management_group_key text references management_groups (key);
create index role_assignments_management_group_key on role_assignments (management_group_key, key);
alter table deny_assignments add column management_group_key text references management_groups (key);
create index deny_assignments_management_group_key on deny_assignments (management_group_key, key);
alter table deployments add column management_group_key text references management_groups (key);
create index deployments_management_group_key on deployments (management_group_key, key);

create table locks (
  key text primary key not null,
  version integer not null,
  doc text not null,
  scope_key text not null,
  anchor_key text references resources (key)
) strict;
create index locks_scope_key on locks (scope_key, key);
create index locks_anchor_key on locks (anchor_key, key);

-- One for each subscription that ever had a lock: its version rises with every change of them.
create table lock_marks (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;
