-- How operations ended that were answered with 202.
create table long_operations (
  key text primary key not null,
  version integer not null,
  doc text not null,
  subscription_id text not null
) strict;
create index long_operations_subscription_id on long_operations (subscription_id, key);
