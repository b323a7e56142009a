package conformance;

import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.ClientAssertionCredentialBuilder;
import com.azure.identity.ClientCertificateCredentialBuilder;
import com.azure.identity.ClientSecretCredentialBuilder;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.azure.identity.WorkloadIdentityCredentialBuilder;

/** As an application asks azure-identity. */
final class AzureIdentity {
    private AzureIdentity() {}

    static Cells.Source open(Cell cell) throws Cells.Unsupported {
        TokenCredential credential = credential(cell);
        return () -> token(credential, cell.resource());
    }

    private static Cells.Token token(TokenCredential credential, String resource) {
        AccessToken token = credential.getTokenSync(new TokenRequestContext().addScopes(resource + "/.default"));
        return new Cells.Token(token.getToken(), token.getExpiresAt().toEpochSecond());
    }

    private static TokenCredential credential(Cell cell) throws Cells.Unsupported {
        return switch (cell.client()) {
            case "managed-identity" -> managedIdentity(cell.selector());
            case "default" -> new DefaultAzureCredentialBuilder().build();
            case "workload-identity" -> new WorkloadIdentityCredentialBuilder().build();
            case "client-secret" -> new ClientSecretCredentialBuilder()
                    .tenantId(cell.tenant()).clientId(cell.clientId()).clientSecret(cell.secret()).build();
            case "client-certificate" -> new ClientCertificateCredentialBuilder()
                    .tenantId(cell.tenant()).clientId(cell.clientId()).pemCertificate(cell.certificate()).build();
            case "client-assertion" -> assertion(cell);
            default -> throw new Cells.Unsupported("azure-identity has no such client");
        };
    }

    private static TokenCredential managedIdentity(Cell.Selector selector) {
        ManagedIdentityCredentialBuilder builder = new ManagedIdentityCredentialBuilder();
        if (selector != null) {
            switch (selector.kind()) {
                case "client_id" -> builder.clientId(selector.value());
                case "object_id" -> builder.objectId(selector.value());
                default -> builder.resourceId(selector.value());
            }
        }
        return builder.build();
    }

    private static TokenCredential assertion(Cell cell) {
        TokenCredential identity = managedIdentity(cell.selector());
        return new ClientAssertionCredentialBuilder()
                .tenantId(cell.tenant())
                .clientId(cell.clientId())
                .clientAssertion(() -> token(identity, cell.assertionResource()).value())
                .build();
    }
}
