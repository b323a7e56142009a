-- Whose tokens a principal accepts as proof of itself. Those with an expression have no subject, and may be alike.
create table federated_credentials (
  key text collate "C" primary key not null,
  version bigint not null,
  doc text not null,
  principal_id text collate "C" not null references principals (key),
  issuer text collate "C" not null,
  subject text collate "C",
  unique (principal_id, issuer, subject)
);
create index federated_credentials_principal_id on federated_credentials (principal_id, key);
create index federated_credentials_issuer on federated_credentials (issuer, key);
create index federated_credentials_subject on federated_credentials (subject, key);
