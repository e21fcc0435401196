"""Clients over HTTP."""

import io
import json
import subprocess
import urllib.request

import numpy as np
from server import NAME, same

JSON = {"content-type": "application/json"}


def post(server, path, body, accept="application/json"):
    data = json.dumps(body).encode()
    request = urllib.request.Request(server.base + path, data, {**JSON, "accept": accept})
    with urllib.request.urlopen(request) as answer:
        return answer.read()


def curl(server, expected):
    body = json.dumps({"inputs": expected.sequences})
    for version in ("--http1.1", "--http2-prior-knowledge"):
        command = ["curl", "-sS", "--fail", version, f"{server.base}/embed", "-d", "@-"]
        command += ["-H", "content-type: application/json"]
        answer = subprocess.run(command, input=body.encode(), capture_output=True, check=True)
        # JSON holds the shortest decimals that are these floats.
        found = np.array(json.loads(answer.stdout), dtype="f4")
        same(found, expected.load("mean.layer2"), f"curl {version}")


def numpy_arrays(server, expected):
    found = np.load(io.BytesIO(post(server, "/embed", {"inputs": expected.sequences}, "application/x-npy")))
    same(found, expected.load("mean.layer2"), "npy of all")
    for row, sequence in enumerate(expected.sequences):
        if sequence:
            one = {"inputs": sequence}
            same(np.load(io.BytesIO(post(server, "/embed", one, "application/x-npy"))), expected.pooled(row), "npy")
            found = np.load(io.BytesIO(post(server, "/embed_all", one, "application/x-npy")))
            same(found, expected.rows(row), f"npy of {expected.ids[row]}")
    packed = np.load(io.BytesIO(post(server, "/embed_all", {"inputs": expected.sequences}, "application/zip")))
    for row in range(len(expected.sequences)):
        same(packed[str(row)], expected.rows(row), f"npz of {expected.ids[row]}")


def huggingface_hub(server, expected):
    from huggingface_hub import InferenceClient

    client = InferenceClient(server.base)
    for row in range(8):
        found = client.feature_extraction(expected.sequences[row])
        same(np.squeeze(found, 0), expected.pooled(row), "feature_extraction")


def openai(server, expected):
    from openai import BadRequestError, OpenAI

    client = OpenAI(base_url=f"{server.base}/v1", api_key="none")
    for form in ("float", "base64"):
        answer = client.embeddings.create(model=NAME, input=expected.sequences, encoding_format=form)
        for row, data in enumerate(answer.data):
            assert data.index == row
            values = data.embedding
            if isinstance(values, str):
                import base64

                values = np.frombuffer(base64.b64decode(values), "<f4")
            same(np.array(values, dtype="f4"), expected.pooled(row), f"embeddings.create, {form}")
    # Without a form, the package asks for base64 and decodes it.
    answer = client.embeddings.create(model=NAME, input=expected.sequences[3])
    same(np.array(answer.data[0].embedding, dtype="f4"), expected.pooled(3), "embeddings.create")
    # The package shows why a request failed.
    try:
        client.embeddings.create(model=NAME, input=["MK", ""])
    except BadRequestError as error:
        says = "input[1]: the sequence is empty"
        assert error.body["message"] == says and says in str(error), error
        assert (error.type, error.code) == ("invalid_request_error", "Empty"), error
    else:
        raise AssertionError("an empty sequence was embedded")


def metrics(server, expected):
    from prometheus_client.parser import text_string_to_metric_families

    post(server, "/embed", {"inputs": expected.sequences[:2]})
    with urllib.request.urlopen(f"{server.base}/metrics") as answer:
        text = answer.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    kinds = {family.type for family in families.values()}
    assert {"counter", "gauge", "histogram"} <= kinds, kinds
    tokens = families["esm_embed_tokens"].samples[0]
    assert tokens.name == "esm_embed_tokens_total" and tokens.value > 0, tokens


def openapi(server, _):
    from openapi_spec_validator import validate

    with urllib.request.urlopen(f"{server.base}/openapi.json") as answer:
        document = json.load(answer)
    validate(document)
    assert {"/embed", "/embed_all", "/v1/embeddings"} <= document["paths"].keys()
    with urllib.request.urlopen(f"{server.base}/docs/") as answer:
        assert b"swagger" in answer.read().lower()


def triton_http(server, expected):
    import tritonclient.http as triton

    client = triton.InferenceServerClient(server.address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("embeddings")
    assert client.get_model_metadata("hiddens")["inputs"][0]["name"] == "sequences"
    rows = range(8)
    sequences = np.array([[expected.sequences[row].encode()] for row in rows], dtype=object)
    for binary in (True, False):
        given = triton.InferInput("sequences", list(sequences.shape), "BYTES")
        given.set_data_from_numpy(sequences, binary_data=binary)
        wanted = [triton.InferRequestedOutput("embeddings", binary_data=binary)]
        found = client.infer("embeddings", [given], outputs=wanted).as_numpy("embeddings")
        same(found, expected.load("mean.layer2")[: len(rows)], f"tritonclient.http, binary {binary}")
        names = ("hiddens", "mask")
        wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
        answer = client.infer("hiddens", [given], outputs=wanted)
        check_hiddens(answer.as_numpy("hiddens"), answer.as_numpy("mask"), expected, rows)


def check_hiddens(hiddens, mask, expected, rows):
    longest = max(expected.lengths[row] for row in rows)
    assert hiddens.shape[:2] == mask.shape == (len(rows), longest)
    assert mask.dtype == bool
    for i, row in enumerate(rows):
        n = expected.lengths[row]
        same(hiddens[i, :n], expected.rows(row), f"hiddens of {expected.ids[row]}")
        assert not hiddens[i, n:].any()
        assert mask[i, :n].all() and not mask[i, n:].any()


CHECKS = [curl, numpy_arrays, huggingface_hub, openai, metrics, openapi, triton_http]
