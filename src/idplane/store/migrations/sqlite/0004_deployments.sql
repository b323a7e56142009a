-- Deployments of templates, each with what it did about every resource. Those of a group go with the group.
create table deployments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  scope_key text not null,
  group_key text references resources (key)
) strict;
create index deployments_scope_key on deployments (scope_key, key);
create index deployments_group_key on deployments (group_key, key);

create table deployment_operations (
  key text primary key not null,
  version integer not null,
  doc text not null,
  deployment_key text not null references deployments (key)
) strict;
create index deployment_operations_deployment_key on deployment_operations (deployment_key, key);
