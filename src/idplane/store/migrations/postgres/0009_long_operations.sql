-- How operations ended that were answered with 202.
create table long_operations (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  subscription_id text collate "C" not null
);
create index long_operations_subscription_id on long_operations (subscription_id, key);
