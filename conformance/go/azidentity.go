package main

import (
	"context"
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

func openAzidentity(cell Cell) (source, error) {
	credential, err := azidentityCredential(cell)
	if err != nil {
		return nil, err
	}
	return tokensOf(credential, cell.Resource), nil
}

func tokensOf(credential azcore.TokenCredential, resource string) source {
	return func(ctx context.Context) (Token, error) {
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{resource + "/.default"}})
		return Token{token.Token, token.ExpiresOn}, err
	}
}

func azidentityCredential(cell Cell) (azcore.TokenCredential, error) {
	switch cell.Client {
	case "managed-identity":
		return managedIdentity(cell.Selector)
	case "default":
		return azidentity.NewDefaultAzureCredential(nil)
	case "workload-identity":
		return azidentity.NewWorkloadIdentityCredential(nil)
	case "client-secret":
		return azidentity.NewClientSecretCredential(cell.Tenant, cell.ClientID, cell.Secret, nil)
	case "client-certificate":
		return certificateCredential(cell)
	case "client-assertion":
		return assertionCredential(cell)
	}
	return nil, unsupported("azidentity has no such client")
}

func managedIdentity(selector *Selector) (azcore.TokenCredential, error) {
	return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ID: managedID(selector)})
}

func managedID(selector *Selector) azidentity.ManagedIDKind {
	if selector == nil {
		return nil
	}
	switch selector.Kind {
	case "client_id":
		return azidentity.ClientID(selector.Value)
	case "object_id":
		return azidentity.ObjectID(selector.Value)
	default:
		return azidentity.ResourceID(selector.Value)
	}
}

func certificateCredential(cell Cell) (azcore.TokenCredential, error) {
	content, err := os.ReadFile(cell.Certificate)
	if err != nil {
		return nil, err
	}
	certificates, key, err := azidentity.ParseCertificates(content, nil)
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientCertificateCredential(cell.Tenant, cell.ClientID, certificates, key, nil)
}

func assertionCredential(cell Cell) (azcore.TokenCredential, error) {
	identity, err := managedIdentity(cell.Selector)
	if err != nil {
		return nil, err
	}
	assertions := tokensOf(identity, cell.AssertionResource)
	assertion := func(ctx context.Context) (string, error) {
		token, err := assertions(ctx)
		return token.value, err
	}
	return azidentity.NewClientAssertionCredential(cell.Tenant, cell.ClientID, assertion, nil)
}
