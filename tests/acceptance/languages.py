"""The scripts of each client library, which all take the same arguments.

A client is called with PORT FUNCTION MODE [UNIQUE] and the workload on standard input. The modes fg, high and low
print the result and exit with 1 when the job failed; bg, bg-high and bg-low print the handle; status submits in the
background and prints whether the job is then known and running, as in `1 0`.
A worker is called with PORT FUNCTION BEHAVIOUR and prints `HANDLE HEX-OF-WORKLOAD` for each job: `twice` gives the
workload twice, `progress` a status of 1/4, the data "part", the warning "careful" and the result "end"; `fail` and
`exception` do what they say.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.install_clients import InstallError, node_clients, python_clients
from tests.acceptance.servers import missing, run, tool, unavailable

SCRIPTS = Path(__file__).parent / "scripts"
PHP_PACKAGES = "php-cli php-gearman"
PERL_PACKAGES = "libgearman-client-perl"


@dataclass(frozen=True)
class Library:
    """How the scripts of one library are called."""

    client: list[str | Path]
    worker: list[str | Path]
    environment: dict[str, str]


@functools.cache
def php(name: str = "") -> Library:
    """Return the scripts on the pecl extension."""
    command = tool("php", PHP_PACKAGES)
    if b"gearman" not in run([command, "-m"]).stdout.split():
        missing("PHP's gearman extension", PHP_PACKAGES)
    return Library([command, SCRIPTS / "client.php"], [command, SCRIPTS / "worker.php"], {})


@functools.cache
def perl(name: str = "") -> Library:
    """Return the scripts on Gearman::Client and Gearman::Worker."""
    command = tool("perl", PERL_PACKAGES)
    if run([command, "-MGearman::Client", "-MGearman::Worker", "-e", "1"]).returncode != 0:
        missing("Perl's Gearman::Client", PERL_PACKAGES)
    return Library([command, SCRIPTS / "client.pl"], [command, SCRIPTS / "worker.pl"], {})


def c(folder: str) -> Library:
    """Return the programs on libgearman, which were built in this folder."""
    return Library([Path(folder, "client")], [Path(folder, "worker")], {})


@functools.cache
def gearman_tool(name: str = "") -> Library:
    """Return the scripts on the `gearman` command."""
    tool("gearman", "gearman-tools")
    return Library(["sh", SCRIPTS / "client.sh"], ["sh", SCRIPTS / "worker.sh"], {})


@functools.cache
def python(name: str) -> Library:
    """Return the scripts on one of the Python libraries."""
    script = SCRIPTS / f"with_{name.replace('-', '_')}.py"
    command = install(python_clients)
    return Library([command, script, "client"], [command, script, "worker"], {})


@functools.cache
def node(name: str) -> Library:
    """Return the scripts on one of the Node libraries."""
    script = SCRIPTS / f"with_{name.replace('-', '_')}.js"
    command = tool("node", "nodejs npm")
    environment = {"NODE_PATH": str(install(node_clients)), "NODE_NO_WARNINGS": "1"}
    return Library([command, script, "client"], [command, script, "worker"], environment)


def install(clients: Callable[[], Path]) -> Path:
    """Install a language's clients, if need be; skip the test when that cannot be done."""
    outcome = install_once(clients)
    return unavailable(str(outcome)) if isinstance(outcome, InstallError) else outcome


@functools.cache
def install_once(clients: Callable[[], Path]) -> Path | InstallError:
    """Try the installation once a session; what failed once is not tried again by every test."""
    try:
        return clients()
    except InstallError as error:
        return error
