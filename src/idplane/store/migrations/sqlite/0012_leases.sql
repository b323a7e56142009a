-- Which process does a background duty. Renewals are no changes: they are not in the feed.
create table leases (
  key text primary key not null,
  version integer not null,
  doc text not null
) strict;

-- The oldest program that can work on the schema after a migration, by the number of its own newest migration. Whoever knows fewer
-- migrations than a database has looks here whether it may go on.
alter table schema_version add column oldest_program integer;
