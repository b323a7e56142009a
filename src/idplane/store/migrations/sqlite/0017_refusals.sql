-- Refusals, so that each can be explained by the id that its caller was shown. Only adds: the version before goes on working.
create table refusals (
  key text primary key not null,
  version integer not null,
  doc text not null,
  refusal_id text not null,
  tenant_id text,
  principal_id text,
  scope_key text,
  proved integer not null
) strict;
create index refusals_refusal_id on refusals (refusal_id, key);
create index refusals_tenant_id on refusals (tenant_id, key);
create index refusals_principal_id on refusals (principal_id, key);
create index refusals_scope_key on refusals (scope_key, key);
create index refusals_proved on refusals (proved, key);
