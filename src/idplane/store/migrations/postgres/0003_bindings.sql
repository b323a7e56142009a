-- Which processes of a host may use which of its identities.
create table bindings (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  host_key text collate "C" not null references resources (key)
);
create index bindings_host_key on bindings (host_key, key);
