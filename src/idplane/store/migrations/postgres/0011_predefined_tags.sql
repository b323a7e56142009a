-- Names and values of tags that a subscription offers before any resource uses them.
create table predefined_tags (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  subscription_id text collate "C" not null
);
create index predefined_tags_subscription_id on predefined_tags (subscription_id, key);
