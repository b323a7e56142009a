-- What a deny assignment's scope is or lies in cannot go without it.
alter table deny_assignments add column anchor_key text collate "C" references resources (key);
create index deny_assignments_anchor_key on deny_assignments (anchor_key, key);
