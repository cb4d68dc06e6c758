"""Open an application and print each party's join code; readers of the result are optional.
python examples/open_application.py http://127.0.0.1:8000 [applicant,bank]"""

import argparse
import base64
import os
import secrets
import sys

import requests

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("server", help="the server's URL, for example http://127.0.0.1:8000")
parser.add_argument("readers", nargs="?", help="parties that learn the result (default: all)")
given = parser.parse_args()
server = given.server.rstrip("/")
readers = {"readers": given.readers.split(",")} if given.readers else None
try:
    answer = requests.post(f"{server}/applications", json=readers, timeout=30)
except requests.RequestException as error:
    sys.exit(f"{server} cannot be reached: give a URL such as http://127.0.0.1:8000 ({error}).")
if not answer.ok:
    sys.exit(answer.json()["detail"])
opened = answer.json()
# Made here, for the parties alone: with it they know each other's first words, and the server,
# which passes these on, can neither read nor replace them.
group = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
for party, code in opened["join_codes"].items():
    print(f"{party}: {opened['client_id']}.{code}.{group}")
page = os.environ.get("TRISEAL_PAGE_PORT", "7860")
print(f"watch: http://127.0.0.1:{page}/#watch={opened['client_id']}.{opened['watch_token']}")
