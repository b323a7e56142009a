-- Applications have credentials of their own, which may be there before any service principal is.
alter table applications add column display_name text collate "C" not null default '';
update applications set display_name = lower(coalesce(doc::json ->> 'display_name', ''));
create index applications_display_name on applications (display_name, key);

alter table credentials alter column principal_id drop not null;
alter table credentials add column application_id text collate "C" references applications (key);
alter table credentials add constraint credentials_owner check ((principal_id is null) <> (application_id is null));
create index credentials_application_id on credentials (application_id, key);

alter table federated_credentials alter column principal_id drop not null;
alter table federated_credentials add column application_id text collate "C" references applications (key);
alter table federated_credentials add constraint federated_credentials_owner
  check ((principal_id is null) <> (application_id is null));
alter table federated_credentials add constraint federated_credentials_application_unique
  unique (application_id, issuer, subject);
create index federated_credentials_application_id on federated_credentials (application_id, key);

-- Which principal holds which role of which resource's service principal.
create table app_role_assignments (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key),
  resource_id text collate "C" not null references principals (key),
  role_id text collate "C" not null,
  unique (principal_id, resource_id, role_id)
);
create index app_role_assignments_principal_id on app_role_assignments (principal_id, key);
create index app_role_assignments_resource_id on app_role_assignments (resource_id, key);
create index app_role_assignments_role_id on app_role_assignments (role_id, key);
