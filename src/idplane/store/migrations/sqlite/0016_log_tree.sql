-- The Merkle tree over both logs (audit/tree.py): what it holds of each record, its stored nodes, and the signed checkpoints. A record's
-- seal proves which installation wrote it; the records that were there before have none.
alter table activity_log add column seal text;
alter table sign_ins add column seal text;

create table log_entries (
  start integer primary key,
  entries blob not null
) strict;
create table log_nodes (
  level integer not null,
  number integer not null,
  hash blob not null,
  primary key (level, number)
) strict, without rowid;
create table log_checkpoints (
  number integer primary key,
  size integer not null,
  at integer not null,
  note text not null
) strict;
create trigger log_entries_keep_updates before update on log_entries
begin
  select raise(abort, 'the log tree is append-only');
end;
create trigger log_entries_keep_deletes before delete on log_entries
begin
  select raise(abort, 'the log tree is append-only');
end;
create trigger log_nodes_keep_updates before update on log_nodes
begin
  select raise(abort, 'the log tree is append-only');
end;
create trigger log_nodes_keep_deletes before delete on log_nodes
begin
  select raise(abort, 'the log tree is append-only');
end;
create trigger log_checkpoints_keep_updates before update on log_checkpoints
when new.size < old.size or new.number <> old.number or old.number < (select max(number) from log_checkpoints)
begin
  select raise(abort, 'the log tree is append-only');
end;
create trigger log_checkpoints_keep_deletes before delete on log_checkpoints
begin
  select raise(abort, 'the log tree is append-only');
end;
