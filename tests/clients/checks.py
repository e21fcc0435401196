"""Runs all checks: checks.py PROGRAM WORK ONLY. Called by run.py, in an environment that has the clients."""

import subprocess
import sys
import time
import traceback
from pathlib import Path

import grpc_clients
import http_clients
from server import Expected, Server

PROGRAM, WORK, ONLY = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]


class Report:
    """Runs checks one by one and prints how each ended."""

    def __init__(self):
        self.failed = []

    def check(self, name, function, *arguments):
        if ONLY not in name:
            return
        begin = time.monotonic()
        try:
            function(*arguments)
        except Exception:
            traceback.print_exc()
            self.failed.append(name)
            print(f"FAILED {name}", flush=True)
        else:
            print(f"ok {name} ({time.monotonic() - begin:.1f} s)", flush=True)


def kubernetes(template):
    """The manifest against the schemas of Kubernetes."""
    manifest = WORK / "kubernetes.yaml"
    manifest.write_text(template)
    program = Path(sys.executable).parent / "kubernetes-validate"
    subprocess.run([program, "--strict", "--quiet", manifest], check=True)


def certificates():
    """A certificate for loopback, its key, and its authority."""
    import trustme

    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    chain, key, root = WORK / "chain.pem", WORK / "key.pem", WORK / "root.pem"
    chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    root.write_bytes(authority.cert_pem.bytes())
    return chain, key, root


def curl_over_tls(server, root):
    command = ["curl", "-sS", "--fail", "--retry", "50", "--retry-all-errors", "--retry-delay", "1"]
    subprocess.run([*command, "--cacert", root, f"{server.base}/health"], check=True)


def main():
    expected = Expected(PROGRAM, WORK)
    report = Report()
    with Server(PROGRAM, "--layer", "1,2", "--include", "logits,contacts").wait() as server:
        for module in (http_clients, grpc_clients):
            for function in module.CHECKS:
                name = f"{module.__name__}.{function.__name__}"
                report.check(name, function, server, expected)
    with Server(PROGRAM, "--bionemo-pooled").wait() as server:
        report.check("grpc_clients.bionemo_pooled", grpc_clients.bionemo_pooled, server, expected)
    with Server(PROGRAM, "--api-key", "s3cret").wait() as server:
        report.check("grpc_clients.keys", grpc_clients.keys, server, expected)
    chain, key, root = certificates()
    with Server(PROGRAM, "--tls-cert", chain, "--tls-key", key) as server:
        curl_over_tls(server, root)
        report.check("grpc_clients.tls", grpc_clients.tls, server, expected, root)
    template = subprocess.run(
        [PROGRAM, "template", "kubernetes"], check=True, capture_output=True, text=True
    )
    report.check("kubernetes", kubernetes, template.stdout)
    if report.failed:
        sys.exit(f"failed: {', '.join(report.failed)}")


if __name__ == "__main__":
    main()
