//! Asks for tokens as azure_identity does, for the conformance suite: says what it is, then answers each line of JSON on standard
//! input, a cell, with one of its own.

mod credentials;

use credentials::Problem;
use serde_json::{Value, json};
use std::io::BufRead;
use std::time::Duration;

const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));
const PATIENCE: Duration = Duration::from_secs(50);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let version = locked_version("azure_identity").ok_or("azure_identity is not in Cargo.lock")?;
    println!(
        "{}",
        json!({"sdk": "azure_identity", "version": version, "language": "Rust", "runtime": env!("COMPILER")})
    );
    for line in std::io::stdin().lock().lines() {
        let cell: Value = serde_json::from_str(&line?)?;
        println!("{}", runtime.block_on(answered(&cell)));
    }
    Ok(())
}

/// The version of a package that this program was built with; packages do not carry their own.
fn locked_version(package: &str) -> Option<&'static str> {
    let (_, rest) = LOCK.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    rest.split('"').next()
}

async fn answered(cell: &Value) -> Value {
    let id = &cell["id"];
    match tokio::time::timeout(PATIENCE, asked(cell)).await {
        Ok(Ok((token, expires_on))) => json!({"id": id, "token": token, "expires_on": expires_on}),
        Ok(Err(Problem::Unsupported(why))) => json!({"id": id, "unsupported": why}),
        Ok(Err(Problem::Failed(error))) => json!({"id": id, "error": credentials::words(&*error)}),
        Err(_) => {
            json!({"id": id, "error": format!("Elapsed: no answer within {} s", PATIENCE.as_secs())})
        }
    }
}

async fn asked(cell: &Value) -> Result<(String, i64), Problem> {
    let credential = credentials::of(cell)?;
    let scope = credentials::scope(cell, "resource")?;
    let times = cell["times"].as_u64().unwrap_or(1);
    let mut token = credential.get_token(&[&scope], None).await?;
    for _ in 1..times {
        token = credential.get_token(&[&scope], None).await?;
    }
    Ok((
        token.token.secret().to_owned(),
        token.expires_on.unix_timestamp(),
    ))
}
