-- Oldest program: 0016
-- A tenant's sign-ins by time, with how each ended: counting a day of them reads this index and no record.
create index sign_ins_outcomes on sign_ins (tenant_id, at, position, error_code);
drop index sign_ins_tenant_id;
