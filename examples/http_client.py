"""Run an application over HTTP without the library of this project.
python examples/http_client.py http://127.0.0.1:8000 '{"Total_income": 90000}'"""

import argparse
import base64
import hashlib
import io
import json
import operator
import secrets
import struct
import sys
import time
import zipfile

import requests
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def call(method, path, token="", **arguments):
    arguments["headers"] = {"Authorization": f"Bearer {token}"}
    try:
        answer = requests.request(method, given.server + path, timeout=300, **arguments)
    except ValueError as error:  # not a URL
        parser.error(str(error))
    except requests.RequestException as error:
        sys.exit(f"{given.server} cannot be reached ({error}).")
    return answer if answer.ok else sys.exit(answer.json()["detail"])


def encode(column):  # the column's bits by the public schema, and its state one-hot
    value, cuts = values[column["name"]], column.get("cuts", [])
    names = column.get("values", [False, True])
    state = count = len(cuts) + 1 if cuts else len(names)
    try:
        if value is not None:
            state = sum(value >= c for c in cuts) if cuts else names.index(value)
    except (TypeError, ValueError):
        parser.error(f"{column['name']} cannot be {value!r}")
    one_hot = [int(i == state) for i in range(count + column["optional"])]
    at_least = [int(i <= state < count) for i in range(1, count)] + one_hot[count:]
    return one_hot if column["kind"] == "categorical" else at_least, one_hot


def broken(rule):  # True if every condition holds; a missing value fits none
    def holds(column, **comparison):
        ((name, bound),) = comparison.items()
        if isinstance(bound, dict):  # another column, plus a constant
            other = values[bound["column"]]
            bound = other if other is None else other + bound["plus"]
        return None not in (values[column], bound) and COMPARE[name](values[column], bound)

    return all(holds(**condition) for condition in rule["never"])


def send(party, kind, payload):
    header = {"engine": "concrete", "profile": "tfhe-4bit", "kind": kind, "party": party}
    text = json.dumps({**header, "model": model["model_version"]}).encode()
    message = b"TRISEAL1" + struct.pack("<I", len(text)) + text + payload
    form = {**asked, "client_type": party, "file_name": kind}
    files = {"files": message + hashlib.sha256(message).digest()}
    receipt = call("POST", "/send_file", tokens[party], data=form, files=files).json()
    inputs_sha256[f"{party}/{kind}"] = receipt["sha256"]


def canonical(value):
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def permit(party, program):  # a signed token (RFC 7519): this party allows one run on its data
    now, public = int(time.time()), keys[party["name"]].public_key().public_bytes_raw().hex()
    header = {"alg": "EdDSA", "kid": public, "typ": "triseal-permit+jwt"}
    claims = {"iss": party["name"], "sub": opened["client_id"], "aud": "urn:triseal:server"}
    claims |= {"jti": secrets.token_hex(16), "iat": now, "exp": now + 300, "action": program}
    claims |= {"program": hashlib.sha256(canonical(model)).hexdigest(), "inputs": inputs_sha256}
    claims |= {"fields": [column["name"] for column in party["columns"]]}
    parts = [base64.urlsafe_b64encode(canonical(part)).rstrip(b"=") for part in (header, claims)]
    signature = base64.urlsafe_b64encode(keys[party["name"]].sign(b".".join(parts)))
    return b".".join([*parts, signature.rstrip(b"=")]).decode()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("server", help="the server's URL, for example http://127.0.0.1:8000")
parser.add_argument("values", nargs="?", type=json.loads, default={}, help="own values, as JSON")
given = parser.parse_args()
COMPARE = {"one_of": lambda value, listed: value in listed, "at_least": operator.ge}
COMPARE |= {"above": operator.gt, "at_most": operator.le, "below": operator.lt}
model = call("GET", "/model").json()
columns = [column for party in model["schema"]["parties"] for column in party["columns"]]
values = {column["name"]: column["default"] for column in columns}
if not isinstance(given.values, dict) or given.values.keys() - values.keys():
    parser.error(f"the values are of other columns than {', '.join(values)}")
values |= given.values
encoded = {column["name"]: encode(column) for column in columns}
for rule in filter(broken, model["schema"].get("rules", [])):
    sys.exit(rule["text"])  # before anything is encrypted
from concrete import fhe  # noqa: E402 (only now, since this takes seconds)

archive = zipfile.ZipFile(io.BytesIO(call("GET", "/model/client").content))
client = fhe.Client(fhe.ClientSpecs.deserialize(archive.read("client.specs.json")))
opened, parties, tokens = call("POST", "/applications").json(), model["schema"]["parties"], {}
asked, path = {"client_id": opened["client_id"]}, f"/applications/{opened['client_id']}"
keys, inputs_sha256 = {party["name"]: Ed25519PrivateKey.generate() for party in parties}, {}
for name, code in opened["join_codes"].items():
    key = keys[name].public_key().public_bytes_raw().hex()
    body = {"party": name, "code": code, "permit_key": key}
    tokens[name] = call("POST", f"{path}/join", json=body).json()["token"]
client.keygen()
send(parties[0]["name"], "evaluation_key", client.evaluation_keys.serialize())
for i, party in enumerate(parties):
    bits, states = zip(*(encoded[own["name"]] for own in party["columns"]), strict=True)
    inputs = [None] * 2 * i + [sum(bits, []), sum(states, [])] + [None] * 2 * (len(parties) - i - 1)
    parts = [v.serialize() for v in client.encrypt(*inputs, function_name="decide") if v]
    send(party["name"], "encrypted_inputs", b"".join(struct.pack("<I", len(p)) + p for p in parts))
permits = [permit(party, "decide") for party in parties]
call("POST", f"{path}/permits", tokens[name], json={"permits": permits})
seconds = call("POST", "/run_fhe", tokens[name], data=asked).json()
sealed = call("POST", "/get_output", tokens[name], data=asked).content
value = fhe.Value.deserialize(sealed[16 + struct.unpack_from("<I", sealed, 8)[0] : -32])
score = client.decrypt(value, function_name="decide")
print(f"{'approved' if score >= 0 else 'denied'}: score {score}, {seconds:.2f} s on the server")
