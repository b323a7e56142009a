package conformance;

import com.microsoft.aad.msal4j.ClientCredentialFactory;
import com.microsoft.aad.msal4j.ClientCredentialParameters;
import com.microsoft.aad.msal4j.ConfidentialClientApplication;
import com.microsoft.aad.msal4j.IAuthenticationResult;
import com.microsoft.aad.msal4j.IClientCredential;
import com.microsoft.aad.msal4j.ManagedIdentityApplication;
import com.microsoft.aad.msal4j.ManagedIdentityId;
import com.microsoft.aad.msal4j.ManagedIdentityParameters;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Set;

/** As an application asks msal4j. */
final class Msal {
    private static final String AUTHORITY = "https://login.microsoftonline.com/";

    private Msal() {}

    static Cells.Source open(Cell cell) throws Exception {
        if (cell.client().equals("managed-identity")) {
            return managedIdentity(cell.selector(), cell.resource());
        }
        boolean projected = cell.client().equals("workload-identity");
        String clientId = projected ? System.getenv("AZURE_CLIENT_ID") : cell.clientId();
        String authority = projected ? System.getenv("AZURE_AUTHORITY_HOST") + System.getenv("AZURE_TENANT_ID") : AUTHORITY + cell.tenant();
        ConfidentialClientApplication application =
                ConfidentialClientApplication.builder(clientId, credential(cell)).authority(authority).build();
        ClientCredentialParameters wanted = ClientCredentialParameters.builder(Set.of(cell.resource() + "/.default")).build();
        return () -> token(application.acquireToken(wanted).get());
    }

    private static Cells.Source managedIdentity(Cell.Selector selector, String resource) {
        ManagedIdentityApplication application = ManagedIdentityApplication.builder(identity(selector)).build();
        ManagedIdentityParameters wanted = ManagedIdentityParameters.builder(resource).build();
        return () -> token(application.acquireTokenForManagedIdentity(wanted).get());
    }

    private static ManagedIdentityId identity(Cell.Selector selector) {
        if (selector == null) {
            return ManagedIdentityId.systemAssigned();
        }
        return switch (selector.kind()) {
            case "client_id" -> ManagedIdentityId.userAssignedClientId(selector.value());
            case "object_id" -> ManagedIdentityId.userAssignedObjectId(selector.value());
            default -> ManagedIdentityId.userAssignedResourceId(selector.value());
        };
    }

    private static Cells.Token token(IAuthenticationResult result) {
        return new Cells.Token(result.accessToken(), result.expiresOnDate().getTime() / 1000);
    }

    private static IClientCredential credential(Cell cell) throws Exception {
        return switch (cell.client()) {
            case "client-secret" -> ClientCredentialFactory.createFromSecret(cell.secret());
            case "client-certificate" -> certificate(Files.readString(Path.of(cell.certificate())));
            case "client-assertion" -> assertion(cell);
            case "workload-identity" -> ClientCredentialFactory.createFromCallback(
                    () -> Files.readString(Path.of(System.getenv("AZURE_FEDERATED_TOKEN_FILE"))));
            case "default" -> throw new Cells.Unsupported("MSAL has no default credential");
            default -> throw new Cells.Unsupported("MSAL has no such client");
        };
    }

    private static IClientCredential assertion(Cell cell) {
        Cells.Source identity = managedIdentity(cell.selector(), cell.assertionResource());
        return ClientCredentialFactory.createFromCallback(() -> identity.ask().value());
    }

    private static IClientCredential certificate(String pem) throws IOException, GeneralSecurityException {
        PrivateKey key = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(block(pem, "PRIVATE KEY")));
        ByteArrayInputStream certificate = new ByteArrayInputStream(block(pem, "CERTIFICATE"));
        return ClientCredentialFactory.createFromCertificate(
                key, (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(certificate));
    }

    private static byte[] block(String pem, String label) throws IOException {
        String begin = "-----BEGIN " + label + "-----";
        int start = pem.indexOf(begin);
        int end = pem.indexOf("-----END " + label + "-----");
        if (start < 0 || end < start) {
            throw new IOException("there is no " + label + " in the file");
        }
        return Base64.getMimeDecoder().decode(pem.substring(start + begin.length(), end));
    }
}
