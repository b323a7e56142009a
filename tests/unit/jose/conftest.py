"""Keys that the tests of this folder share: making them is the slow part."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from idplane.jose import Algorithm, PrivateKey, new_ec_key, new_rsa_key

JoseKeys = dict[Algorithm, PrivateKey]


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return new_rsa_key()


@pytest.fixture(scope="session")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return new_ec_key()


@pytest.fixture(scope="session")
def jose_keys(rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> JoseKeys:
    return {Algorithm.RS256: rsa_key, Algorithm.PS256: rsa_key, Algorithm.ES256: ec_key}
