"""A certificate authority of one's own, made with the openssl command."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.acceptance.servers import tool

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Authority:
    """Issues certificates; `ca` is its own. Each certificate is a file with its key in it, NAME.pem."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self.key = directory / "ca.key"
        self.openssl("req", "-x509", *EC, "-subj", f"/CN={name}", "-days", "30", "-keyout", self.key, "-out", self.ca)

    def openssl(self, *arguments: str | Path) -> None:
        """Run openssl."""
        command = [tool("openssl", "openssl"), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr

    def issue(self, name: str, alternative: Sequence[str] = (), days: int = 2, use: str = "") -> Path:
        """Return the file with a new certificate for the common name and the alternative ones (`DNS:...`)."""
        request, key, made = (self.directory / f"{name}.{suffix}" for suffix in ("csr", "key", "crt"))
        extensions = self.directory / f"{name}.ext"
        lines = [f"subjectAltName={','.join(alternative)}"] if alternative else []
        lines += [f"extendedKeyUsage={use}"] if use else []
        extensions.write_text("\n".join(["basicConstraints=CA:FALSE", *lines]) + "\n")
        self.openssl("req", *EC, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        self.openssl(
            "x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days", str(days),
            "-extfile", extensions, "-out", made,
        )  # fmt: skip
        file = self.directory / f"{name}.pem"
        file.write_text(made.read_text() + key.read_text())
        return file

    def server(self) -> Path:
        """Return the file with a certificate for a server on this machine."""
        return self.issue("server", ["DNS:localhost", "IP:127.0.0.1"])
