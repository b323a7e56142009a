// @azure/identity.

import { Unsupported, load, serve } from "./lines.mjs";

const sdk = load("@azure/identity");

function managedIdentity({ selector }) {
  switch (selector?.kind) {
    case undefined:
      return new sdk.ManagedIdentityCredential();
    case "client_id":
      return new sdk.ManagedIdentityCredential(selector.value);
    case "object_id":
      return new sdk.ManagedIdentityCredential({ objectId: selector.value });
    default:
      return new sdk.ManagedIdentityCredential({ resourceId: selector.value });
  }
}

function clientAssertion(request) {
  if (sdk.ClientAssertionCredential === undefined) {
    throw new Unsupported("this version has no ClientAssertionCredential");
  }
  const identity = managedIdentity(request);
  const assertion = async () => (await identity.getToken(`${request.assertion_resource}/.default`)).token;
  return new sdk.ClientAssertionCredential(request.tenant, request.client_id, assertion);
}

function workloadIdentity() {
  if (sdk.WorkloadIdentityCredential === undefined) {
    throw new Unsupported("this version has no WorkloadIdentityCredential");
  }
  return new sdk.WorkloadIdentityCredential();
}

const clients = {
  "managed-identity": managedIdentity,
  default: () => new sdk.DefaultAzureCredential(),
  "workload-identity": workloadIdentity,
  "client-secret": ({ tenant, client_id, secret }) => new sdk.ClientSecretCredential(tenant, client_id, secret),
  "client-certificate": ({ tenant, client_id, certificate }) => new sdk.ClientCertificateCredential(tenant, client_id, certificate),
  "client-assertion": clientAssertion,
};

await serve("@azure/identity", async (request) => {
  const credential = clients[request.client](request);
  let found;
  for (let time = 0; time < (request.times ?? 1); time++) {
    found = await credential.getToken(`${request.resource}/.default`);
  }
  return { token: found.token, expires: found.expiresOnTimestamp };
});
