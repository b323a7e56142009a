"""A front end: asks its machine for a token the way `curl` would, and says who it turned out to be; once for each line of input."""

import base64
import json
import os
import sys
import urllib.error
import urllib.request

METADATA = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"
SECRET = os.environ.get("IDENTITY_HEADER")
ENDPOINT = f"{os.environ['IDENTITY_ENDPOINT']}?api-version=2019-08-01" if SECRET else METADATA
HEADERS = {"X-IDENTITY-HEADER": SECRET} if SECRET else {"Metadata": "true"}
IDENTITY = f"&client_id={sys.argv[1]}" if len(sys.argv) > 1 else ""

for _ in sys.stdin:
    try:
        request = urllib.request.Request(f"{ENDPOINT}&resource=https://management.azure.com/{IDENTITY}", headers=HEADERS)
        with urllib.request.urlopen(request) as answer:
            payload = json.load(answer)["access_token"].split(".")[1]
        print("ok", json.loads(base64.urlsafe_b64decode(payload + "=="))["oid"], flush=True)
    except urllib.error.HTTPError as refusal:
        said = json.load(refusal)
        print("refused", said.get("error_description") or said["message"], flush=True)
