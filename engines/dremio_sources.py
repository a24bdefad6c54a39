"""The sources Dremio reads a lake by, as its REST API takes them. Pure.

Fields: docs.dremio.com, REST API, "Source" and "Source Configuration" (types NESSIE and S3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

SECRETS = {"awsAccessSecret", "accessSecret", "nessieAccessToken"}
"""What Dremio takes and never tells again."""


@dataclass(frozen=True)
class Storage:
    """The object store of a lake as Dremio reaches it; without an endpoint it is AWS, without keys the machine's role.

    `root` is `s3://bucket/prefix`.
    """

    root: str
    endpoint: str = ""
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = field(default=None, repr=False)

    @property
    def bucket(self) -> str:
        """The bucket alone."""
        return urlsplit(self.root).netloc

    @property
    def path(self) -> str:
        """Bucket and prefix as a path of Dremio's."""
        return f"/{self.bucket}{urlsplit(self.root).path.rstrip('/')}"

    @property
    def secure(self) -> bool:
        """Whether the store is asked over TLS."""
        return not self.endpoint.startswith("http://")

    def properties(self) -> list[dict[str, str]]:
        """Return what a store that is not AWS needs said."""
        if not self.endpoint:
            return []
        said = {
            "fs.s3a.endpoint": urlsplit(self.endpoint).netloc,
            "fs.s3a.path.style.access": "true",
            "dremio.s3.compat": "true",
        }
        return [{"name": name, "value": value} for name, value in said.items()]

    def keys(self, access: str, secret: str) -> dict[str, str]:
        """Return the credentials under the names a kind of source has for them."""
        if self.access_key is None or self.secret_key is None:
            return {"credentialType": "EC2_METADATA"}
        return {
            "credentialType": "ACCESS_KEY",
            access: self.access_key.get_secret_value(),
            secret: self.secret_key.get_secret_value(),
        }


def nessie_source(name: str, uri: str, token: SecretStr | None, storage: Storage) -> dict[str, Any]:
    """Return the source of a Nessie catalog; `uri` is the server's root."""
    config: dict[str, Any] = {
        "nessieEndpoint": f"{uri}/api/v2",
        "nessieAuthType": "BEARER" if token else "NONE",
        **storage.keys("awsAccessKey", "awsAccessSecret"),
        "awsRootPath": storage.bucket,
        "secure": storage.secure,
        "propertyList": storage.properties(),
    }
    if token:
        config["nessieAccessToken"] = token.get_secret_value()
    return {"entityType": "source", "type": "NESSIE", "name": name, "config": config}


def files_source(name: str, storage: Storage) -> dict[str, Any]:
    """Return the source of the lake's files as they lie in the object store: its raw zone is Parquet."""
    config = {
        **storage.keys("accessKey", "accessSecret"),
        "rootPath": storage.path,
        "whitelistedBuckets": [storage.bucket],
        "secure": storage.secure,
        "compatibilityMode": bool(storage.endpoint),
        "propertyList": storage.properties(),
    }
    return {"entityType": "source", "type": "S3", "name": name, "config": config}


def differs(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a source is not as wanted; secrets cannot be compared."""
    there = found.get("config", {})
    return [
        key
        for key, value in wanted["config"].items()
        if key not in SECRETS and _comparable(value) != _comparable(there.get(key))
    ]


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(str(sorted(item.items())) if isinstance(item, Mapping) else str(item) for item in value)
    return value
