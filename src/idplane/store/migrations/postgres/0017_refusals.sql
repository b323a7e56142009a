-- Refusals, so that each can be explained by the id that its caller was shown. Only adds: the version before goes on working.
create table refusals (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  refusal_id text collate "C" not null,
  tenant_id text collate "C",
  principal_id text collate "C",
  scope_key text collate "C",
  proved bigint not null
);
create index refusals_refusal_id on refusals (refusal_id, key);
create index refusals_tenant_id on refusals (tenant_id, key);
create index refusals_principal_id on refusals (principal_id, key);
create index refusals_scope_key on refusals (scope_key, key);
create index refusals_proved on refusals (proved, key);
