-- Users and groups are principals; who is a member of which group; how users sign in: requests that wait for approval, and sessions.
alter table principals add column user_principal_name text;
create unique index principals_tenant_user_principal_name on principals (tenant_id, user_principal_name);
create index principals_user_principal_name on principals (user_principal_name, key);

create table memberships (
  key text primary key not null,
  version integer not null,
  doc text not null,
  group_id text not null references principals (key),
  member_id text not null references principals (key)
) strict;
create index memberships_group_id on memberships (group_id, key);
create index memberships_member_id on memberships (member_id, key);

create table device_codes (
  key text primary key not null,
  version integer not null,
  doc text not null,
  user_code text not null unique,
  client_address text,
  principal_id text references principals (key)
) strict;
create index device_codes_client_address on device_codes (client_address, key);
create index device_codes_principal_id on device_codes (principal_id, key);

create table sessions (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text not null references principals (key)
) strict;
create index sessions_principal_id on sessions (principal_id, key);

create table refresh_tokens (
  key text primary key not null,
  version integer not null,
  doc text not null,
  session_id text not null references sessions (key),
  principal_id text not null
) strict;
create index refresh_tokens_session_id on refresh_tokens (session_id, key);
create index refresh_tokens_principal_id on refresh_tokens (principal_id, key);
