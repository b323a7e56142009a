// A real issuer that nobody here wrote: the authority of a test, on a port of its own choosing, until its input ends.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const keys = [
  ["rsa", { modulusLength: 2048 }, "RS256"],
  ["ec", { namedCurve: "P-256" }, "ES256"],
].map(([type, options, alg]) => ({
  ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }), kid: `key-${alg}`, use: "sig", alg,
}));
const audience = "api://AzureADTokenExchange";
let handle;
const server = createServer((request, response) => handle(request, response));
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: ["RS256", "ES256"].map((alg) => ({
      client_id: `job-${alg}`, client_secret: "a-secret-of-the-test", grant_types: ["client_credentials"],
      redirect_uris: [], response_types: [],
    })),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource, client) => ({
          scope: "exchange", audience: resource === audience ? audience : resource, accessTokenFormat: "jwt",
          jwt: { sign: { alg: client.clientId.slice("job-".length) } },
        }),
      },
    },
  });
  handle = provider.callback();
  console.log(JSON.stringify({ issuer }));
});
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
