-- The activity log by resource group, and both logs as things that end. A tenant is asked only for its own events, which lie in no
-- subscription and are few: the index on it holds nothing else, so that other events do not pay for it.
drop trigger activity_log_keeps_updates;
alter table activity_log add column group_key text;
update activity_log
set group_key = substr(resource_key, 1, 66 + instr(substr(resource_key, 68) || '/', '/'))
where substr(resource_key, 1, 15) = '/subscriptions/' and substr(resource_key, 52, 16) = '/resourcegroups/';
create trigger activity_log_keeps_updates before update on activity_log
begin
  select raise(abort, 'the activity log is append-only');
end;
create index activity_log_group_key on activity_log (group_key, at);
drop index activity_log_tenant_id;
create index activity_log_tenant_id on activity_log (tenant_id, at) where subscription_id is null;

-- How far a log has been trimmed: only what is older may go.
create table log_trims (
  log text primary key not null,
  until integer not null
) strict;
drop trigger activity_log_keeps_deletes;
create trigger activity_log_keeps_deletes before delete on activity_log
when old.at >= coalesce((select until from log_trims where log = 'activity_log'), -9223372036854775808)
begin
  select raise(abort, 'the activity log is append-only');
end;
drop trigger sign_ins_keeps_deletes;
create trigger sign_ins_keeps_deletes before delete on sign_ins
when old.at >= coalesce((select until from log_trims where log = 'sign_ins'), -9223372036854775808)
begin
  select raise(abort, 'the sign-in log is append-only');
end;
