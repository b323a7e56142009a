//! A cell's credential, made as an application makes it.

use azure_core::credentials::{SecretBytes, TokenCredential};
use azure_core::http::ClientMethodOptions;
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientCertificateCredential,
    ClientCertificateCredentialOptions, ClientSecretCredential, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
};
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::x509::X509;
use serde_json::Value;
use std::error::Error;
use std::sync::Arc;

/// Why there is no token.
pub enum Problem {
    /// The crate has no way to ask.
    Unsupported(&'static str),
    /// It was asked, and refused.
    Failed(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Problem {
    fn from(error: E) -> Self {
        Problem::Failed(error.into())
    }
}

/// An error on one line, with what caused it.
pub fn words(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        said = format!("{said}: {inner}");
        cause = inner.source();
    }
    format!(
        "Error: {}",
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    )
}

/// A member of the cell as a scope.
pub fn scope(cell: &Value, member: &str) -> Result<String, Problem> {
    Ok(format!("{}/.default", text(cell, member)?))
}

pub fn of(cell: &Value) -> Result<Arc<dyn TokenCredential>, Problem> {
    Ok(match text(cell, "client")?.as_str() {
        "managed-identity" => managed_identity(cell)?,
        "workload-identity" => WorkloadIdentityCredential::new(None)?,
        "client-secret" => ClientSecretCredential::new(
            &text(cell, "tenant")?,
            text(cell, "client_id")?,
            text(cell, "secret")?.into(),
            None,
        )?,
        "client-certificate" => certificate(cell)?,
        "client-assertion" => {
            let assertion = Assertion {
                identity: managed_identity(cell)?,
                scope: scope(cell, "assertion_resource")?,
            };
            ClientAssertionCredential::new(
                text(cell, "tenant")?,
                text(cell, "client_id")?,
                assertion,
                None,
            )?
        }
        "default" => {
            return Err(Problem::Unsupported(
                "the crate has no DefaultAzureCredential",
            ));
        }
        _ => return Err(Problem::Unsupported("the crate has no such client")),
    })
}

fn text(cell: &Value, member: &str) -> Result<String, Problem> {
    Ok(cell[member]
        .as_str()
        .ok_or_else(|| format!("the request has no {member}"))?
        .to_owned())
}

fn managed_identity(cell: &Value) -> Result<Arc<dyn TokenCredential>, Problem> {
    let options = ManagedIdentityCredentialOptions {
        user_assigned_id: user_assigned(&cell["selector"])?,
        ..Default::default()
    };
    Ok(ManagedIdentityCredential::new(Some(options))?)
}

fn user_assigned(selector: &Value) -> Result<Option<UserAssignedId>, Problem> {
    if selector.is_null() {
        return Ok(None);
    }
    let value = text(selector, "value")?;
    Ok(Some(match text(selector, "kind")?.as_str() {
        "client_id" => UserAssignedId::ClientId(value),
        "object_id" => UserAssignedId::ObjectId(value),
        _ => UserAssignedId::ResourceId(value),
    }))
}

/// The crate takes PKCS #12 only, so the PEM file is put into that.
fn certificate(cell: &Value) -> Result<Arc<dyn TokenCredential>, Problem> {
    let pem = std::fs::read(text(cell, "certificate")?)?;
    let (key, certificate) = (PKey::private_key_from_pem(&pem)?, X509::from_pem(&pem)?);
    let archive = Pkcs12::builder()
        .pkey(&key)
        .cert(&certificate)
        .build2("conformance")?
        .to_der()?;
    let options = ClientCertificateCredentialOptions {
        password: Some("conformance".into()),
        ..Default::default()
    };
    let bytes = SecretBytes::new(archive);
    Ok(ClientCertificateCredential::new(
        text(cell, "tenant")?,
        text(cell, "client_id")?,
        bytes,
        Some(options),
    )?)
}

/// The token of a managed identity, as an application's assertion.
struct Assertion {
    identity: Arc<dyn TokenCredential>,
    scope: String,
}

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertion").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self
            .identity
            .get_token(&[&self.scope], None)
            .await?
            .token
            .secret()
            .to_owned())
    }
}
