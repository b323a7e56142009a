-- The Merkle tree over both logs (audit/tree.py): what it holds of each record, its stored nodes, and the signed checkpoints. A record's
-- seal proves which installation wrote it; the records that were there before have none.
alter table activity_log add column seal text;
alter table sign_ins add column seal text;

create table log_entries (
  start bigint primary key,
  entries bytea not null
);
-- Hashes do not compress.
alter table log_entries alter column entries set storage external;
create table log_nodes (
  level bigint not null,
  number bigint not null,
  hash bytea not null,
  primary key (level, number)
);
create table log_checkpoints (
  number bigint primary key,
  size bigint not null,
  at bigint not null,
  note text not null
);
create function keep_log_tree() returns trigger language plpgsql as $$
begin
  raise exception 'the log tree is append-only';
end;
$$;
create function keep_log_checkpoints() returns trigger language plpgsql as $$
begin
  if new.size < old.size or new.number <> old.number or old.number < (select max(number) from log_checkpoints) then
    raise exception 'the log tree is append-only';
  end if;
  return new;
end;
$$;
create trigger log_entries_keep before update or delete or truncate on log_entries
for each statement execute function keep_log_tree();
create trigger log_nodes_keep before update or delete or truncate on log_nodes
for each statement execute function keep_log_tree();
create trigger log_checkpoints_keep before delete or truncate on log_checkpoints
for each statement execute function keep_log_tree();
create trigger log_checkpoints_keep_updates before update on log_checkpoints
for each row execute function keep_log_checkpoints();
