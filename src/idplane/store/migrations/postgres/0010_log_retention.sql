-- The activity log by resource group, and both logs as things that end. A tenant is asked only for its own events, which lie in no
-- subscription and are few: the index on it holds nothing else, so that other events do not pay for it.
drop trigger activity_log_keeps on activity_log;
drop trigger sign_ins_keeps on sign_ins;
alter table activity_log add column group_key text collate "C";
update activity_log
set group_key = substring(resource_key from '^/subscriptions/[^/]+/resourcegroups/[^/]+')
where resource_key like '/subscriptions/%/resourcegroups/%';
create index activity_log_group_key on activity_log (group_key, at, position);
drop index activity_log_tenant_id;
create index activity_log_tenant_id on activity_log (tenant_id, at, position) where subscription_id is null;

-- How far a log has been trimmed: only what is older may go.
create table log_trims (
  log text collate "C" primary key not null,
  until bigint not null
);
create function keep_recent_log() returns trigger language plpgsql as $$
begin
  if old.at >= coalesce((select until from log_trims where log = tg_table_name), -9223372036854775808) then
    raise exception 'the log % is append-only', tg_table_name;
  end if;
  return old;
end;
$$;
create trigger activity_log_keeps before update or truncate on activity_log for each statement execute function keep_log();
create trigger sign_ins_keeps before update or truncate on sign_ins for each statement execute function keep_log();
create trigger activity_log_keeps_recent before delete on activity_log for each row execute function keep_recent_log();
create trigger sign_ins_keeps_recent before delete on sign_ins for each row execute function keep_recent_log();
