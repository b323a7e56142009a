"""Keys that the tests of this folder share: making them is the slow part."""

from idplane.jose import Algorithm, PrivateKey, new_ec_key, new_rsa_key

RSA_KEY = new_rsa_key()
EC_KEY = new_ec_key()
JOSE_KEYS: dict[Algorithm, PrivateKey] = {Algorithm.RS256: RSA_KEY, Algorithm.PS256: RSA_KEY, Algorithm.ES256: EC_KEY}
