"""A server that speaks S3 on this machine, with credentials that it checks, and buckets for the tests."""

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import boto3
import fsspec
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from shards.storage import places

SECRET = "a-secret-that-nobody-may-see"
"""Of an access key that the server does not know."""
_CHECKED_FROM_NOW_ON, _NEVER_CHECKED = b"0", b"1000000000"


@dataclass(frozen=True)
class S3:
    """A running server.

    Attributes:
        address: (host, port).
        client: boto3's, with which tests put things there.
    """

    address: tuple[str, int]
    client: "boto3.client"  # type: ignore[valid-type]

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def put(self, folder: Path, bucket: str, prefix: str) -> str:
        """Put a folder into a bucket of its own; return its address."""
        self.client.create_bucket(Bucket=bucket)
        for path in folder.iterdir():
            self.client.put_object(Bucket=bucket, Key=f"{prefix}/{path.name}", Body=path.read_bytes())
        return f"s3://{bucket}/{prefix}"

    @contextmanager
    def checking_permission(self) -> Iterator[None]:
        """Let the server refuse what no known key is shown for."""
        self._reset_auth(_CHECKED_FROM_NOW_ON)
        try:
            yield
        finally:
            self._reset_auth(_NEVER_CHECKED)

    def _reset_auth(self, after: bytes) -> None:
        told = Request(f"{self.url}/moto-api/reset-auth", after, {"Content-Type": "text/plain"})
        with urlopen(told) as answer:
            assert json.load(answer)["status"] == "ok"


def environment(url: str) -> dict[str, str]:
    """What a user sets for a server of one's own."""
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Name a server as a user does."""
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    forget_clients()


def forget_clients() -> None:
    """Make new ones from now on: they keep what they found in the environment."""
    fsspec.filesystem("s3").clear_instance_cache()
    places._storage.cache_clear()


@contextmanager
def s3_server() -> Iterator[S3]:
    """Start the server in this process, and end it."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )
    try:
        yield S3((host, port), client)
    finally:
        server.stop()
