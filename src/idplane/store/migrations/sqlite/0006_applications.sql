-- Applications have credentials of their own, which may be there before any service principal is. SQLite cannot take a "not null"
-- back, so both tables are made again.
alter table applications add column display_name text not null default '';
update applications set display_name = lower(coalesce(doc ->> '$.display_name', ''));
create index applications_display_name on applications (display_name, key);

create table credentials_again (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text references principals (key),
  application_id text references applications (key),
  client_id text not null,
  kind text not null,
  thumbprint text,
  host_key text,
  agent_id text,
  check ((principal_id is null) <> (application_id is null))
) strict;
insert into credentials_again (key, version, doc, principal_id, client_id, kind, thumbprint, host_key, agent_id)
  select key, version, doc, principal_id, client_id, kind, thumbprint, host_key, agent_id from credentials;
drop table credentials;
alter table credentials_again rename to credentials;
create index credentials_principal_id on credentials (principal_id, key);
create index credentials_application_id on credentials (application_id, key);
create index credentials_client_id on credentials (client_id, key);
create index credentials_kind on credentials (kind, key);
create index credentials_thumbprint on credentials (thumbprint, key);
create index credentials_host_key on credentials (host_key, key);
create index credentials_agent_id on credentials (agent_id, key);

create table federated_credentials_again (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text references principals (key),
  application_id text references applications (key),
  issuer text not null,
  subject text,
  unique (principal_id, issuer, subject),
  unique (application_id, issuer, subject),
  check ((principal_id is null) <> (application_id is null))
) strict;
insert into federated_credentials_again (key, version, doc, principal_id, issuer, subject)
  select key, version, doc, principal_id, issuer, subject from federated_credentials;
drop table federated_credentials;
alter table federated_credentials_again rename to federated_credentials;
create index federated_credentials_principal_id on federated_credentials (principal_id, key);
create index federated_credentials_application_id on federated_credentials (application_id, key);
create index federated_credentials_issuer on federated_credentials (issuer, key);
create index federated_credentials_subject on federated_credentials (subject, key);

-- Which principal holds which role of which resource's service principal.
create table app_role_assignments (
  key text primary key not null,
  version integer not null,
  doc text not null,
  principal_id text not null references principals (key),
  resource_id text not null references principals (key),
  role_id text not null,
  unique (principal_id, resource_id, role_id)
) strict;
create index app_role_assignments_principal_id on app_role_assignments (principal_id, key);
create index app_role_assignments_resource_id on app_role_assignments (resource_id, key);
create index app_role_assignments_role_id on app_role_assignments (role_id, key);
