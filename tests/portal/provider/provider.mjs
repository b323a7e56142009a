// A certified OpenID Connect provider for the portal's tests: whoever types a name is that person.
// Arguments: where the plane's portal is, the client's secret. Prints its issuer when it listens.
// A name decides what the provider says of it: "unverified-..." has an address that nobody has verified.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [portal, secret] = process.argv.slice(2);
const server = createServer();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const issuer = `http://localhost:${server.address().port}`;
const provider = new Provider(issuer, {
  clients: [{ client_id: "idplane", client_secret: secret, redirect_uris: [`${portal}/sign-in/return`] }],
  claims: { openid: ["sub"], email: ["email", "email_verified"] },
  // As providers do that put into ID tokens only what no other endpoint tells: `conform` asks for that.
  conformIdTokenClaims: process.argv[4] === "conform",
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: id, email_verified: !id.startsWith("unverified-") }),
  }),
  pkce: { required: () => true },
});
server.on("request", provider.callback());
console.log(issuer);
