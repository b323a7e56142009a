package main

import (
	"context"
	"os"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"
)

const authority = "https://login.microsoftonline.com/"

func openMSAL(cell Cell) (source, error) {
	if cell.Client == "managed-identity" {
		return msalManagedIdentity(cell.Selector, cell.Resource)
	}
	credential, err := msalCredential(cell)
	if err != nil {
		return nil, err
	}
	where, clientID := authority+cell.Tenant, cell.ClientID
	if cell.Client == "workload-identity" {
		where, clientID = os.Getenv("AZURE_AUTHORITY_HOST")+os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	}
	client, err := confidential.New(where, clientID, credential)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Token, error) {
		result, err := client.AcquireTokenByCredential(ctx, []string{cell.Resource + "/.default"})
		return Token{result.AccessToken, result.ExpiresOn}, err
	}, nil
}

func msalManagedIdentity(selector *Selector, resource string) (source, error) {
	client, err := managedidentity.New(msalID(selector))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (Token, error) {
		result, err := client.AcquireToken(ctx, resource)
		return Token{result.AccessToken, result.ExpiresOn}, err
	}, nil
}

func msalID(selector *Selector) managedidentity.ID {
	if selector == nil {
		return managedidentity.SystemAssigned()
	}
	switch selector.Kind {
	case "client_id":
		return managedidentity.UserAssignedClientID(selector.Value)
	case "object_id":
		return managedidentity.UserAssignedObjectID(selector.Value)
	default:
		return managedidentity.UserAssignedResourceID(selector.Value)
	}
}

func msalCredential(cell Cell) (confidential.Credential, error) {
	switch cell.Client {
	case "client-secret":
		return confidential.NewCredFromSecret(cell.Secret)
	case "client-certificate":
		return msalCertificate(cell.Certificate)
	case "client-assertion":
		return msalAssertion(cell)
	case "workload-identity":
		return confidential.NewCredFromAssertionCallback(projectedToken), nil
	case "default":
		return confidential.Credential{}, unsupported("MSAL has no default credential")
	}
	return confidential.Credential{}, unsupported("MSAL has no such client")
}

func msalCertificate(path string) (confidential.Credential, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return confidential.Credential{}, err
	}
	certificates, key, err := confidential.CertFromPEM(content, "")
	if err != nil {
		return confidential.Credential{}, err
	}
	return confidential.NewCredFromCert(certificates, key)
}

// projectedToken is what an application without azidentity does in a pod.
func projectedToken(context.Context, confidential.AssertionRequestOptions) (string, error) {
	content, err := os.ReadFile(os.Getenv("AZURE_FEDERATED_TOKEN_FILE"))
	return string(content), err
}

func msalAssertion(cell Cell) (confidential.Credential, error) {
	assertions, err := msalManagedIdentity(cell.Selector, cell.AssertionResource)
	if err != nil {
		return confidential.Credential{}, err
	}
	assertion := func(ctx context.Context, _ confidential.AssertionRequestOptions) (string, error) {
		token, err := assertions(ctx)
		return token.value, err
	}
	return confidential.NewCredFromAssertionCallback(assertion), nil
}
