-- Oldest program: 0016
-- Links that sign a person in to the portal, and the sessions that come of them. Both go with their user, so that programs which know
-- of neither can delete one.
create table portal_links (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key) on delete cascade
);
create index portal_links_principal_id on portal_links (principal_id, key);

create table portal_sessions (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key) on delete cascade
);
create index portal_sessions_principal_id on portal_sessions (principal_id, key);
