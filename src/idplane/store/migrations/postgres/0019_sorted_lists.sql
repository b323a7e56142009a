-- Oldest program: 0016
-- What lists of resources are sorted by, within a subscription and within a type of it.
create index resources_subscription_name on resources (subscription_id, name, key);
create index resources_subscription_type on resources (subscription_id, type, key);
create index resources_subscription_type_name on resources (subscription_id, type, name, key);
