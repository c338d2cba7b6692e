"""An RFC 3161 timestamp authority that the `openssl` program runs, for tests: serve `respond` with `LoopbackServer`."""

import subprocess
from pathlib import Path

from muniment.testing.loopback import Response

_EXTENSIONS = """
[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
authorityKeyIdentifier = keyid
[service]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
signer_key = {folder}/tsa.key
certs = {folder}/chain.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
tsa_name = yes
ess_cert_id_alg = sha256
"""


class OpensslAuthority:
    """A root, an intermediate and a signer; `root_pem` is what a reader trusts.

    Args:
        folder: An empty folder for its keys and certificates.
        name: Its name in them.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        (folder / "serial").write_text("01")
        (folder / "openssl.cnf").write_text(_EXTENSIONS.format(folder=folder))
        self._certify("root", f"/CN={name} root", "ca", None)
        self._certify("intermediate", f"/CN={name} intermediate", "ca", "root")
        self._certify("tsa", f"/CN={name}", "tsa", "intermediate")
        self.root_pem = (folder / "root.pem").read_bytes()
        self.set_chain("root", "intermediate")

    def set_chain(self, *names: str) -> None:
        """Choose the certificates that its tokens carry beside the signer's, and their order."""
        pem = b"".join((self.folder / f"{name}.pem").read_bytes() for name in names)
        (self.folder / "chain.pem").write_bytes(pem)

    def openssl(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run the program in the authority's folder."""
        return subprocess.run(
            ["openssl", *arguments], cwd=self.folder, check=check, capture_output=True, text=True
        )

    def respond(self, method: str, path: str, body: bytes) -> Response:
        """Answer a timestamp query."""
        del method, path
        query, reply = self.folder / "query.tsq", self.folder / "reply.tsr"
        query.write_bytes(body)
        names = ["-queryfile", query.name, "-out", reply.name]
        self.openssl("ts", "-reply", *names, "-config", "openssl.cnf", "-section", "service")
        return 200, {"content-type": "application/timestamp-reply"}, [reply.read_bytes()]

    def _certify(self, name: str, subject: str, section: str, issuer: str | None) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        common = ["-config", "openssl.cnf", "-keyout", f"{name}.key", "-subj", subject]
        if issuer is None:
            days = ["-days", "3650", "-extensions", section, "-out", f"{name}.pem"]
            self.openssl("req", "-x509", *key, *common, *days)
            return
        self.openssl("req", *key, *common, "-out", f"{name}.csr")
        by = ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key", "-CAcreateserial"]
        how = ["-days", "3650", "-extfile", "openssl.cnf", "-extensions", section]
        self.openssl("x509", "-req", "-in", f"{name}.csr", *by, *how, "-out", f"{name}.pem")
