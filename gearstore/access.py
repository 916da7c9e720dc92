"""Who may do what: roles, the listeners that give them, and what is granted to the names in certificates.

Values only: options.py and config.py read them, the server obeys them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from gearstore.address import DEFAULT_PORT, Address, parse_address
from gearstore.errors import ConfigError
from gearstore.kinds import Kind, check, choice, meant

TABLE = "certificates"
HOW = f'write [{TABLE}."GLOB"], with what the certificates whose name the glob matches may do below it'
REMEMBERED = 10_000  # names of functions of which it is known whether globs match them


@dataclass(frozen=True, slots=True)
class Functions:
    """The functions that globs name. `in` is one look-up for a name that was met before."""

    globs: tuple[str, ...] = ()
    _met: dict[bytes, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def all(self) -> bool:
        """Whether every function is among them."""
        return "*" in self.globs

    def __contains__(self, name: bytes) -> bool:
        found = self._met.get(name)
        if found is None:
            if len(self._met) >= REMEMBERED:
                self._met.clear()
            text = name.decode("utf-8", "surrogateescape")
            found = self._met[name] = any(fnmatchcase(text, glob) for glob in self.globs)
        return found


EVERY, NONE = Functions(("*",)), Functions()


@dataclass(frozen=True, slots=True)
class Rights:
    """What a connection may do. All may look at the counts: functions, jobs, workers."""

    submit: Functions
    work: Functions
    read: bool = False  # look at jobs: workloads, results, errors
    manage: bool = False  # change jobs of others, and functions

    @property
    def limited(self) -> bool:
        """Whether there are functions that it may not submit to or work on."""
        return not (self.submit.all and self.work.all)


class Role(NamedTuple):
    """A name for rights, and what it means to who reads it."""

    rights: Rights
    help: str


ROLES = {
    "admin": Role(Rights(EVERY, EVERY, True, True), "everything, also change and forget jobs of others"),
    "user": Role(Rights(EVERY, EVERY, True), "submit, work, and look at jobs"),
    "client": Role(Rights(EVERY, NONE), "submit, and look at counts"),
    "worker": Role(Rights(NONE, EVERY), "work, and look at counts"),
    "monitor": Role(Rights(NONE, NONE), "look at counts"),
}
ROLE = choice(*ROLES)
NO_ROLE = "monitor"  # of a certificate to which no role is granted


# Listeners


def parse_listen(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """Return the address of `ADDRESS` or `ADDRESS,role=ROLE`; raise ValueError if it is neither."""
    place, comma, rest = text.partition(",role=")
    address = parse_address(place, default_port)
    return replace(address, role=ROLE.parse(rest)) if comma else address


def write_listen(value: object) -> str:
    """Return an address, or the text of one, as the file may hold it."""
    return f"{value},role={value.role}" if isinstance(value, Address) and value.role else str(value)


# Certificates


@dataclass(frozen=True, slots=True)
class GrantKey:
    """One key of a certificate's table."""

    name: str
    kind: Kind
    help: str
    repeated: bool = False


def parse_glob(text: str) -> str:
    """Return the glob; raise ValueError if it can match nothing that has a name."""
    if not text:
        raise ValueError(text)
    return text


FUNCTION = Kind("GLOB", "a glob of functions such as mail*", parse_glob)
KEYS: tuple[GrantKey, ...] = (
    GrantKey("role", ROLE, f"What they may do: {'; '.join(f'{name}: {role.help}' for name, role in ROLES.items())}."),
    GrantKey("submit", FUNCTION, "Globs of the functions that they may submit jobs to, instead of those of the role.",
             repeated=True),
    GrantKey("work", FUNCTION, "Globs of the functions that they may work on, instead of those of the role.",
             repeated=True),
)  # fmt: skip
KEY_OF = {key.name: key for key in KEYS}


@dataclass(frozen=True, slots=True)
class Grant:
    """Some keys, for the certificates that have a name which the glob matches."""

    glob: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Grants:
    """What is granted to certificates: of all grants that match a name, the last one that has a key decides it."""

    grants: tuple[Grant, ...] = ()
    _found: dict[tuple[str, ...], Rights | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.grants)

    def of(self, names: tuple[str, ...]) -> Rights | None:
        """Return the rights of a certificate with these names, None if no grant is about it.

        Without a role it is a monitor's, so that what isn't granted isn't allowed. Who is limited to some functions
        sees no jobs, unless as an administrator: they may be of others.
        """
        if names not in self._found:
            self._found[names] = self._find(names)
        return self._found[names]

    def _find(self, names: tuple[str, ...]) -> Rights | None:
        matching = self.about(names)
        if not matching:
            return None
        values: dict[str, Any] = {}
        for grant in matching:
            values |= grant.values
        role = ROLES[values.get("role", NO_ROLE)].rights
        submit, work = (Functions(values[key]) if key in values else getattr(role, key) for key in ("submit", "work"))
        return replace(role, submit=submit, work=work, read=role.manage or (role.read and submit.all and work.all))

    def about(self, names: tuple[str, ...]) -> list[Grant]:
        """Return the grants about a certificate with these names, in their order."""
        return [grant for grant in self.grants if any(fnmatchcase(name, grant.glob) for name in names)]


def read_grants(file: object, tables: Any) -> Grants:
    """Return what the tables of the file grant; raise ConfigError for what is wrong in them."""
    if not isinstance(tables, dict):
        raise ConfigError(f"{file}: {TABLE} is not a table; {HOW}")
    return Grants(tuple(read_grant(file, glob, table) for glob, table in tables.items()))


def read_grant(file: object, glob: str, table: Any) -> Grant:
    """Return the grant that one table describes."""
    if not isinstance(table, dict):
        raise ConfigError(f"{file}: [{TABLE}]: {glob} = {table!r} is granted to nobody; {HOW}")
    where = f'{file}: [{TABLE}."{glob}"]'
    values = {}
    for name, raw in table.items():
        key = KEY_OF.get(name)
        if key is None and isinstance(raw, dict):
            raise ConfigError(f'{where}: {name} is a table; quote a name with dots: [{TABLE}."{glob}.{name}"]')
        if key is None:
            raise ConfigError(f"{where}: {name} is not a key of it; {meant(name, KEY_OF)}")
        values[name] = check(key.kind, raw, f"{where}: {name}", key.kind.toml, key.repeated)
    return Grant(glob, values)
