"""Who does not want to wait any longer is told what was done."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import grpc
from sima.identity.v1 import identity_service_pb2 as pb

from .conftest import serving


def test_ctrl_c_while_rules_are_waited_for_says_that_they_are_in_force(tmp_path: Path) -> None:
    """And that what is stored is grouped all the same; exit code 130."""
    asked = threading.Event()
    policy = pb.PolicyVersion(version=7)

    def set_(_: bytes, __: grpc.ServicerContext) -> bytes:
        return pb.SetIdentityPolicyResponse(policy=policy).SerializeToString()

    def get(_: bytes, __: grpc.ServicerContext) -> bytes:
        asked.set()
        return pb.GetIdentityPolicyResponse(policy=policy).SerializeToString()

    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "SetIdentityPolicy": grpc.unary_unary_rpc_method_handler(set_),
        "GetIdentityPolicy": grpc.unary_unary_rpc_method_handler(get),
    }
    (tmp_path / "sima.yaml").write_text("identity: {}\n")
    with serving("sima.identity.v1.IdentityService", methods) as address:
        where = ["--data-dir", str(tmp_path), "--workspace", "w", "--identity", address]
        wish = ["identity", "policy", "set", str(tmp_path / "sima.yaml"), "--reason", "x", "--wait"]
        command = [sys.executable, "-m", "sima_cli", *where, *wish]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert asked.wait(30)
            process.send_signal(signal.SIGINT)
            printed, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed == b""
    assert b"Version 7 is in force, and what is stored is grouped under it all the same" in said
