// @azure/msal-node: ManagedIdentityApplication and ConfidentialClientApplication.

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";

import { Unsupported, load, serve, versionOf } from "./lines.mjs";

const PACKAGE = "@azure/msal-node";
const sdk = load(PACKAGE);
const KINDS = { client_id: "userAssignedClientId", object_id: "userAssignedObjectId", resource_id: "userAssignedResourceId" };

async function managedIdentity({ selector, times }, resource) {
  const managedIdentityIdParams = selector ? { [KINDS[selector.kind]]: selector.value } : undefined;
  const application = new sdk.ManagedIdentityApplication({ managedIdentityIdParams });
  let found;
  for (let time = 0; time < (times ?? 1); time++) {
    found = await application.acquireToken({ resource });
  }
  return found;
}

function confidential({ tenant, client_id, resource }, credential) {
  const host = (process.env.AZURE_AUTHORITY_HOST ?? "https://login.microsoftonline.com").replace(/\/$/, "");
  const auth = { clientId: client_id, authority: `${host}/${tenant}`, ...credential };
  return new sdk.ConfidentialClientApplication({ auth }).acquireTokenByClientCredential({ scopes: [`${resource}/.default`] });
}

function certificate(request) {
  const privateKey = readFileSync(request.certificate, "utf8");
  const { fingerprint, fingerprint256 } = new X509Certificate(privateKey);
  const hex = (shown) => shown.replaceAll(":", "");
  // Version 2 knew SHA-1 only at first.
  const old = Number(versionOf(PACKAGE).split(".")[0]) < 3;
  const thumbprint = old ? { thumbprint: hex(fingerprint) } : { thumbprintSha256: hex(fingerprint256) };
  return confidential(request, { clientCertificate: { ...thumbprint, privateKey } });
}

async function assertion(request) {
  const clientAssertion = (await managedIdentity(request, request.assertion_resource)).accessToken;
  return confidential(request, { clientAssertion });
}

/** What Azure's examples have programs do with the variables of workload identity. */
function workloadIdentity(request) {
  const { AZURE_TENANT_ID: tenant, AZURE_CLIENT_ID: client_id, AZURE_FEDERATED_TOKEN_FILE: file } = process.env;
  return confidential({ ...request, tenant, client_id }, { clientAssertion: readFileSync(file, "utf8") });
}

const clients = {
  "managed-identity": (request) => managedIdentity(request, request.resource),
  default: () => {
    throw new Unsupported("msal has no default credential");
  },
  "workload-identity": workloadIdentity,
  "client-secret": (request) => confidential(request, { clientSecret: request.secret }),
  "client-certificate": certificate,
  "client-assertion": assertion,
};

await serve(PACKAGE, async (request) => {
  const found = await clients[request.client](request);
  return { token: found.accessToken, expires: found.expiresOn?.getTime() };
});
