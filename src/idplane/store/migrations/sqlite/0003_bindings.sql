-- Which processes of a host may use which of its identities.
create table bindings (
  key text primary key not null,
  version integer not null,
  doc text not null,
  host_key text not null references resources (key)
) strict;
create index bindings_host_key on bindings (host_key, key);
