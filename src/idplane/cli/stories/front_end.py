"""A front end: asks its machine for a token the way `curl` would, and says who it turned out to be; once for each line of input."""

import base64
import json
import sys
import urllib.error
import urllib.request

URL = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/"

for _ in sys.stdin:
    try:
        with urllib.request.urlopen(urllib.request.Request(URL, headers={"Metadata": "true"})) as answer:
            payload = json.load(answer)["access_token"].split(".")[1]
        print("ok", json.loads(base64.urlsafe_b64decode(payload + "=="))["oid"], flush=True)
    except urllib.error.HTTPError as refusal:
        print("refused", json.load(refusal)["error_description"], flush=True)
