"""Clients over gRPC. Their stubs are made from what the server says about itself."""

import queue
import threading

import grpc
import numpy as np
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from http_clients import check_hiddens
from server import same

# More than the answer to any record here.
LARGE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Stub:
    """Calls of one service, by reflection."""

    def __init__(self, channel, service):
        self.channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self.pool = DescriptorPool(self.database)
        self.service = self.pool.FindServiceByName(service)

    def message(self, name):
        package = self.service.file.package
        found = self.pool.FindMessageTypeByName(f"{package}.{name}")
        return message_factory.GetMessageClass(found)

    def call(self, name):
        method = self.service.FindMethodByName(name)
        given = message_factory.GetMessageClass(method.input_type)
        returned = message_factory.GetMessageClass(method.output_type)
        kind = "stream_stream" if name == "Embed" else "unary_unary"
        path = f"/{self.service.full_name}/{name}"
        make = getattr(self.channel, kind)
        return make(path, given.SerializeToString, returned.FromString)


def array(message):
    return np.frombuffer(message.data, message.dtype).reshape(tuple(message.shape))


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("the call succeeded")


def streams(server, expected):
    channel = grpc.insecure_channel(server.address, options=LARGE)
    stub = Stub(channel, "esm_embed.v1.Embedder")
    Sequence, Options = stub.message("Sequence"), stub.message("Options")
    pools = [1, 2, 3]
    everything = Options(layers=[1, -1], pools=pools, residues=True, logits=True, contacts=True)

    def messages():
        for row, (name, sequence) in enumerate(zip(expected.ids, expected.sequences)):
            options = everything if row == 0 else None
            yield Sequence(id=name, sequence=sequence, options=options)
        yield Sequence(id="wrong", sequence="MK<eos>T")
        yield Sequence(id="empty")
        yield Sequence(id="mean", sequence=expected.sequences[3], options=Options())

    answers = list(stub.call("Embed")(messages()))
    n = len(expected.ids)
    assert [answer.id for answer in answers] == [*expected.ids, "wrong", "empty", "mean"]
    assert [answer.index for answer in answers] == list(range(n + 3))
    for row, answer in enumerate(answers[:n]):
        assert not answer.HasField("error"), answer.error
        assert answer.residues == expected.lengths[row]
        found = {one.name: array(one) for one in answer.arrays}
        assert len(found) == 10
        for layer in (1, 2):
            for pool in ("mean", "bos", "max"):
                name = f"{pool}.layer{layer}"
                same(found[name], expected.pooled(row, pool, layer), name)
            name = f"residues.layer{layer}"
            same(found[name], expected.rows(row, name), name)
        same(found["logits"], expected.rows(row, "logits"), "logits")
        same(found["contacts"], expected.contacts(row), "contacts")
        check_notes(answer.notes, expected.flags[row])
    wrong, empty, mean = answers[n:]
    assert wrong.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert wrong.error.message.startswith("residue 3: `<eos>` is not a residue: "), wrong.error
    assert empty.error.message == "the sequence is empty"
    assert [one.name for one in mean.arrays] == ["mean.layer2"]
    same(array(mean.arrays[0]), expected.pooled(3), "the default")


def check_notes(notes, flags):
    flags = dict((*flag.split("="), "1")[:2] for flag in flags.split(",") if flag)
    for name in ("unknown", "lower", "masks", "gaps", "invisible"):
        assert getattr(notes, name) == int(flags.get(name, 0)), (name, flags)
    assert notes.stop_dropped == ("stop" in flags)
    assert notes.nucleotides == ("nucleotides" in flags)


def one_stream_at_a_time(server, expected):
    """A client that sends the next sequence when it has the answer to the last one."""
    channel = grpc.insecure_channel(server.address, options=LARGE)
    stub = Stub(channel, "esm_embed.v1.Embedder")
    Sequence = stub.message("Sequence")
    given = queue.Queue()
    answers = stub.call("Embed")(iter(given.get, None))
    for row, sequence in enumerate(expected.sequences):
        given.put(Sequence(sequence=sequence))
        same(array(next(answers).arrays[0]), expected.pooled(row), "in turns")
    given.put(None)
    assert list(answers) == []


def concurrent_streams(server, expected):
    """16 streams, each in another order."""
    stub = Stub(grpc.insecure_channel(server.address, options=LARGE), "esm_embed.v1.Embedder")
    Sequence, Options = stub.message("Sequence"), stub.message("Options")
    failed = []

    def stream(seed):
        order = np.random.default_rng(seed).permutation(len(expected.ids))
        channel = grpc.insecure_channel(server.address, options=[*LARGE, ("grpc.use_local_subchannel_pool", 1)])
        call = Stub(channel, "esm_embed.v1.Embedder").call("Embed")
        options = Options(residues=True)
        messages = (Sequence(sequence=expected.sequences[row], options=options) for row in order)
        try:
            for row, answer in zip(order, call(messages), strict=True):
                same(array(answer.arrays[0]), expected.rows(row), "16 streams")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=stream, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed


def bionemo(server, expected):
    """As ESMInferenceWrapper of BioNeMo 1.x: reshape by dim, masks of ones, masked means."""
    stub = Stub(
        grpc.insecure_channel(server.address),
        "bionemo.model.protein.esm1nv.grpc.GenerativeSampler",
    )
    call, InputSpec = stub.call("SeqToEmbedding"), stub.message("InputSpec")
    rows = [row for row in expected.plain() if expected.lengths[row] <= 600]
    assert len(rows) > 5
    seqs = [expected.sequences[row] for row in rows]
    output = call(InputSpec(seqs=seqs))
    assert list(output.seqs) == seqs
    hiddens = np.array(output.embeddings, dtype="f4").reshape(tuple(output.dim))
    masks = np.zeros(hiddens.shape[:2], dtype=bool)
    for i, seq in enumerate(seqs):
        masks[i, : len(seq)] = True
    check_hiddens(hiddens, masks, expected, rows)
    means = (hiddens * masks[..., None]).sum(axis=1) / masks.sum(axis=1, keepdims=True)
    # The sum in NumPy's order.
    for i, row in enumerate(rows):
        assert np.allclose(means[i], expected.pooled(row), rtol=1e-5, atol=2e-6)
    # A sequence of which a character is no row would be averaged wrongly.
    code, details = code_of(lambda: call(InputSpec(seqs=["MKT", "MKT*"])))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert details.startswith("seqs[1]: 4 characters have 3 rows"), details
    # 4 MiB are 32,768 rows of 32 numbers.
    code, details = code_of(lambda: call(InputSpec(seqs=["A" * 17000, "C"])))
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "esm_embed.v1.Embedder/Embed" in details, details


def bionemo_pooled(server, expected):
    stub = Stub(
        grpc.insecure_channel(server.address),
        "bionemo.model.protein.esm1nv.grpc.GenerativeSampler",
    )
    output = stub.call("SeqToEmbedding")(stub.message("InputSpec")(seqs=expected.sequences))
    found = np.array(output.embeddings, dtype="f4").reshape(tuple(output.dim))
    same(found, expected.load("mean.layer2"), "pooled")


def triton_grpc(server, expected):
    import tritonclient.grpc as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(server.address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("hiddens")
    assert client.get_server_metadata().name == "esm-embed"
    metadata = client.get_model_metadata("embeddings")
    assert list(metadata.outputs[0].shape) == [-1, 32], metadata
    rows = range(8)
    for shape in ((len(rows), 1), (len(rows),)):
        sequences = [expected.sequences[row].encode() for row in rows]
        sequences = np.array(sequences, dtype=object).reshape(shape)
        given = triton.InferInput("sequences", list(shape), "BYTES")
        given.set_data_from_numpy(sequences)
        answer = client.infer("embeddings", [given], request_id="7")
        assert answer.get_response().id == "7"
        same(answer.as_numpy("embeddings"), expected.load("mean.layer2")[: len(rows)], "tritonclient.grpc")
        assert answer.as_numpy("hiddens") is None
        answer = client.infer("hiddens", [given])
        check_hiddens(answer.as_numpy("hiddens"), answer.as_numpy("mask"), expected, rows)
    for model, name, kind in [
        ("embeddings", "sequence", "BYTES"),
        ("embeddings", "sequences", "INT64"),
        ("other", "sequences", "BYTES"),
    ]:
        given = triton.InferInput(name, [1, 1], kind)
        given.set_data_from_numpy(np.array([["MKT"]], dtype=object) if kind == "BYTES" else np.zeros((1, 1), "i8"))
        try:
            client.infer(model, [given])
        except InferenceServerException as error:
            expected_code = "NOT_FOUND" if model == "other" else "INVALID_ARGUMENT"
            assert error.status() == f"StatusCode.{expected_code}", error
        else:
            raise AssertionError((model, name, kind))


def health(server, _):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(grpc.insecure_channel(server.address))
    for service in ("", "esm_embed.v1.Embedder", "inference.GRPCInferenceService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    code, _ = code_of(lambda: stub.Check(health_pb2.HealthCheckRequest(service="other")))
    assert code == grpc.StatusCode.NOT_FOUND


def reflection(server, _):
    database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(server.address))
    services = set(database.get_services())
    assert {
        "esm_embed.v1.Embedder",
        "bionemo.model.protein.esm1nv.grpc.GenerativeSampler",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
    } <= services, services
    fields = DescriptorPool(database).FindMessageTypeByName("inference.ModelInferRequest").fields_by_name
    theirs = descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest").fields_by_name
    assert {f.name: f.number for f in fields.values()} == {f.name: f.number for f in theirs.values()}


def keys(server, expected):
    """A server with an API key."""
    stub = Stub(grpc.insecure_channel(server.address), "esm_embed.v1.Embedder")
    Sequence = stub.message("Sequence")
    call = stub.call("Embed")
    given = [Sequence(sequence=expected.sequences[2])]
    for metadata in ((), (("authorization", "Bearer wrong"),)):
        code, _ = code_of(lambda: list(call(iter(given), metadata=metadata)))
        assert code == grpc.StatusCode.UNAUTHENTICATED, code
    for metadata in ((("authorization", "Bearer s3cret"),), (("x-api-key", "s3cret"),)):
        (answer,) = call(iter(given), metadata=metadata)
        same(array(answer.arrays[0]), expected.pooled(2), "with a key")
    health(server, expected)


def tls(server, expected, authority):
    credentials = grpc.ssl_channel_credentials(authority.read_bytes())
    channel = grpc.secure_channel(server.address, credentials)
    stub = Stub(channel, "esm_embed.v1.Embedder")
    (answer,) = stub.call("Embed")(iter([stub.message("Sequence")(sequence=expected.sequences[2])]))
    same(array(answer.arrays[0]), expected.pooled(2), "over TLS")


CHECKS = [
    streams,
    one_stream_at_a_time,
    concurrent_streams,
    bionemo,
    triton_grpc,
    health,
    reflection,
]
