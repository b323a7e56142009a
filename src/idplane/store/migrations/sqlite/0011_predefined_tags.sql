-- Names and values of tags that a subscription offers before any resource uses them.
create table predefined_tags (
  key text primary key not null,
  version integer not null,
  doc text not null,
  subscription_id text not null
) strict;
create index predefined_tags_subscription_id on predefined_tags (subscription_id, key);
