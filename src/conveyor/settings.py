"""Settings of the store and of workers, read once at start; nothing below reads the environment.

``StoreSettings`` are the settings of one store process, ``JobLimits`` those of a worker that bound what it
starts, ``JobGrants`` those that give it more. ``upstream_of_this_machine`` returns the index that this
machine installs from, as pip determines it; it is called once, when a store is initialised, and the result is
stored.
"""

from __future__ import annotations

import configparser
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from conveyor.domain.distributions.archives import ArchiveLimits
from conveyor.domain.indexes.mirror import PAGE_LIMIT_BYTES
from conveyor.domain.notices.mail import MailSettings
from conveyor.domain.notices.receivers import is_mailbox
from conveyor.domain.people.passwords import networks
from conveyor.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conveyor.domain.people.passwords import Network

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
DEFAULT_FILE_LIMIT_BYTES = 4 * 1024**3
DEFAULT_DOCS_LIMIT_BYTES = 1024**3
DEFAULT_CLIENT_PAUSE_SECONDS = 60
DEFAULT_UPSTREAM_TIMEOUT_SECONDS = 15.0
"""pip's own default for its ``timeout``."""


@dataclass(frozen=True)
class UpstreamSettings:
    """The index that a mirror reads from, as found when the store was initialised."""

    url: str
    """Ends with a slash; may hold credentials: show ``redacted_url`` only."""
    cert: str | None = None
    """A file of certificates to trust instead of the system's."""
    proxy: str | None = None
    timeout_seconds: float = DEFAULT_UPSTREAM_TIMEOUT_SECONDS

    @property
    def redacted_url(self) -> str:
        """The URL without its password, for people and logs."""
        return redacted(self.url)

    def __repr__(self) -> str:
        proxy = redacted(self.proxy) if self.proxy else None
        return f"UpstreamSettings(url={self.redacted_url!r}, cert={self.cert!r}, proxy={proxy!r})"

    def to_json(self) -> str:
        """The text stored in the catalogue, credentials included."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> UpstreamSettings:
        """Read the text that ``to_json`` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class StoreSettings:
    """Settings that one store process runs with."""

    data: Path
    """The store's folder: catalogue, blobs, serial file, initial password."""
    database_url: str = field(repr=False)
    blobs_url: str = field(repr=False)
    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    workers: int = 1
    public_url: str | None = None
    """The URL by which clients reach the store, ending with a slash; ``None``: by host and port."""
    access_log: Path | None = None
    admin_password: str | None = field(default=None, repr=False)
    """Password of ``admin`` when the store is initialised; ``None``: a random one, written to a file."""
    file_limit_bytes: int = DEFAULT_FILE_LIMIT_BYTES
    """How large an uploaded file may be."""
    docs_limit_bytes: int = DEFAULT_DOCS_LIMIT_BYTES
    """How large an uploaded archive of documentation may be."""
    page_limit_bytes: int = PAGE_LIMIT_BYTES
    """How large a project's page of the upstream may be, unpacked."""
    project_limit_bytes: int | None = None
    """Size of all files of a project together, unless it has a limit of its own; ``None``: unlimited."""
    archive_limits: ArchiveLimits = field(default_factory=ArchiveLimits)
    """Limits of an uploaded file when it is unpacked."""
    client_pause_seconds: int = DEFAULT_CLIENT_PAUSE_SECONDS
    """How long a client may stop sending a request, or stop receiving an answer."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of proxies whose ``X-Forwarded-For`` says where a request came from."""
    mail: MailSettings | None = None
    """``None``: the store sends no mail."""
    upstream: UpstreamSettings | None = None
    """Index to mirror when the store is initialised; ``None``: the one this machine's pip uses."""

    @property
    def served_url(self) -> str:
        """The URL of the server at host and port."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/"


@dataclass(frozen=True)
class JobLimits:
    """The bounds of what a worker starts: of each jail, and all programs in it."""

    memory_bytes: int = 8 * 1024**3
    """Of all its processes together, files in its memory included; without a control group, of each."""
    processes: int = 1024
    """Processes and threads at a time."""
    cpu_seconds: int = 48 * 3600
    """CPU time of all its processes together, those that have ended included."""
    seconds: int = 12 * 3600
    """From the start to the end of the jail; single programs may have less."""
    open_files: int = 8192
    """Descriptors of each process."""
    disk_bytes: int = 32 * 1024**3
    """Of all the folders that it may write in, and of files that only an open descriptor names."""
    log_bytes: int = 256 * 1024**2
    """What one program may write to its standard output and error."""


JOB_SETTINGS = {
    "memory_bytes": "CONVEYOR_JOB_MEMORY_BYTES",
    "processes": "CONVEYOR_JOB_PROCESSES",
    "cpu_seconds": "CONVEYOR_JOB_CPU_SECONDS",
    "seconds": "CONVEYOR_JOB_SECONDS",
    "open_files": "CONVEYOR_JOB_OPEN_FILES",
    "disk_bytes": "CONVEYOR_JOB_DISK_BYTES",
    "log_bytes": "CONVEYOR_JOB_LOG_BYTES",
}
"""Field of ``JobLimits`` → the variable that sets it."""


def job_limits(environment: Mapping[str, str] | None = None) -> JobLimits:
    """The bounds that the variables in ``JOB_SETTINGS`` set.

    Raises:
        InvalidInput: one is not a whole number above 0.
    """
    values = os.environ if environment is None else environment
    given = {field_: _limit(values, name) for field_, name in JOB_SETTINGS.items()}
    return JobLimits(**{field_: value for field_, value in given.items() if value is not None})


@dataclass(frozen=True)
class JobGrants:
    """What a worker gives to jobs because its operator says so; a project cannot ask for more."""

    train_env: frozenset[str] = frozenset()
    """Names of the worker's variables that training may see, if the project declares them."""
    data_hosts: frozenset[str] = frozenset()
    """``HOST`` or ``HOST:PORT`` of servers that may hold declared data although they are not public."""


JOB_GRANTS = {"train_env": "CONVEYOR_JOB_TRAIN_ENV", "data_hosts": "CONVEYOR_JOB_DATA_HOSTS"}
"""Field of ``JobGrants`` → the variable that sets it."""


def job_grants(environment: Mapping[str, str] | None = None) -> JobGrants:
    """What the variables in ``JOB_GRANTS`` give: lists of words between spaces.

    Raises:
        InvalidInput: one names a variable of Conveyor itself, which holds its own settings and secrets.
    """
    values = os.environ if environment is None else environment
    given = {field_: frozenset(values.get(name, "").split()) for field_, name in JOB_GRANTS.items()}
    own = sorted(name for name in given["train_env"] if name.startswith("CONVEYOR_"))
    if own:
        raise InvalidInput(
            f"{JOB_GRANTS['train_env']} names {', '.join(own)}, which no training may see",
            hint="give training variables of its own; those that begin with CONVEYOR_ are the worker's",
        )
    return JobGrants(**given)


def store_settings(
    data: Path,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    workers: int = 1,
    access_log: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> StoreSettings:
    """The settings of a store at ``data``, completed from ``CONVEYOR_*`` variables of the environment."""
    values = os.environ if environment is None else environment
    folder = data.absolute()
    return StoreSettings(
        data=folder,
        database_url=values.get("CONVEYOR_DATABASE_URL") or f"sqlite:///{folder / 'catalog.sqlite'}",
        blobs_url=values.get("CONVEYOR_BLOBS_URL") or f"file://{quote(str(folder / 'blobs'))}",
        host=host,
        port=port,
        workers=workers,
        access_log=access_log.absolute() if access_log else None,
        public_url=_public_url(values.get("CONVEYOR_PUBLIC_URL", "")),
        admin_password=values.get("CONVEYOR_ADMIN_PASSWORD") or None,
        file_limit_bytes=_limit(values, "CONVEYOR_FILE_LIMIT_BYTES") or DEFAULT_FILE_LIMIT_BYTES,
        docs_limit_bytes=_limit(values, "CONVEYOR_DOCS_LIMIT_BYTES") or DEFAULT_DOCS_LIMIT_BYTES,
        page_limit_bytes=_limit(values, "CONVEYOR_PAGE_LIMIT_BYTES") or PAGE_LIMIT_BYTES,
        project_limit_bytes=_limit(values, "CONVEYOR_PROJECT_LIMIT_BYTES"),
        archive_limits=ArchiveLimits(
            members=_limit(values, "CONVEYOR_UNPACKED_LIMIT_MEMBERS") or ArchiveLimits.members,
            expanded_bytes=_limit(values, "CONVEYOR_UNPACKED_LIMIT_BYTES") or ArchiveLimits.expanded_bytes,
            ratio=_limit(values, "CONVEYOR_UNPACKED_LIMIT_RATIO") or ArchiveLimits.ratio,
        ),
        client_pause_seconds=_limit(values, "CONVEYOR_CLIENT_PAUSE_SECONDS") or DEFAULT_CLIENT_PAUSE_SECONDS,
        trusted_proxies=_networks(values, "CONVEYOR_TRUSTED_PROXIES"),
        mail=_mail(values),
    )


def _public_url(text: str) -> str | None:
    """The URL with a slash at its end; ``None`` if no URL is given."""
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise InvalidInput(
            f"CONVEYOR_PUBLIC_URL is not the URL of a store: {redacted(text)!r}",
            hint="write it as in a browser: https://packages.example/",
        )
    return text.rstrip("/") + "/"


def _mail(values: Mapping[str, str]) -> MailSettings | None:
    """The mail server in ``CONVEYOR_SMTP_URL``; ``None`` when it is not set. Raises InvalidInput."""
    text, sender = values.get("CONVEYOR_SMTP_URL", ""), values.get("CONVEYOR_MAIL_FROM", "")
    if not text:
        return None
    faults = []
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or parts.path.strip("/") or parts.query:
        faults.append(f"CONVEYOR_SMTP_URL is not the URL of a mail server: {redacted(text)!r}")
    if parts.password is not None:
        faults.append("CONVEYOR_SMTP_URL holds a password: put it into the file CONVEYOR_SMTP_PASSWORD_FILE")
    if not is_mailbox(sender):
        faults.append(f"CONVEYOR_MAIL_FROM is not the address that mails come from: {sender!r}")
    password = None
    file = values.get("CONVEYOR_SMTP_PASSWORD_FILE", "")
    if file:
        try:
            password = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"CONVEYOR_SMTP_PASSWORD_FILE cannot be read: {error}")
    if (parts.username is None) != (password is None) and not faults:
        faults.append("a user in CONVEYOR_SMTP_URL and CONVEYOR_SMTP_PASSWORD_FILE belong together")
    if faults:
        raise InvalidInput(
            f"the store cannot send mail: {faults[0]}",
            faults=faults,
            hint="write smtp://USER@HOST:587 or smtps://USER@HOST, the password's file, and an address",
        )
    is_tls = parts.scheme == "smtps"
    user = unquote(parts.username) if parts.username else None
    return MailSettings(str(parts.hostname), port or (465 if is_tls else 587), sender, is_tls, user, password)


def _networks(values: Mapping[str, str], name: str) -> tuple[Network, ...]:
    """The networks in a variable; an empty tuple when it is not set."""
    try:
        return networks(values.get(name, ""))
    except ValueError as error:
        raise InvalidInput(
            f"{name} is not a list of addresses and networks: {error}",
            hint="separate them by commas, such as 127.0.0.1, 10.0.0.0/8",
        ) from error


def _limit(values: Mapping[str, str], name: str) -> int | None:
    """The number in a variable; ``None`` when it is not set, or empty."""
    text = values.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) < 2**63):
        raise InvalidInput(
            f"{name} is not a whole number above 0: {text!r}", hint="use digits only, such as 100"
        )
    return int(text)


def redacted(url: str) -> str:
    """A URL whose user name and password are replaced by ``****``."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urlunsplit(parts._replace(netloc="****@" + parts.netloc.rpartition("@")[2]))


def upstream_of_this_machine(environment: Mapping[str, str] | None = None) -> UpstreamSettings:
    """The index that pip on this machine installs from, with its certificates, proxy and timeout.

    Precedence as in pip's documentation ("Configuration"): variables over files; of the files, that of
    ``PIP_CONFIG_FILE`` over the environment's over the user's over the system's; a section ``[install]``
    over ``[global]``. Extra indexes are ignored: mirroring two indexes as one invites dependency confusion.
    If none of these is set: ``PYPI_SIMPLE_ENDPOINT`` of pypi-simple, with the system's certificates.

    Raises:
        InvalidInput: the index URL is not HTTP, a timeout is not a number, or a file cannot be parsed.
    """
    values = os.environ if environment is None else environment
    options = _pip_options(values)
    url = options.get("index-url")
    if not url:
        from pypi_simple import PYPI_SIMPLE_ENDPOINT  # the only part of it that is used; see pyproject.toml

        url = PYPI_SIMPLE_ENDPOINT
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InvalidInput(
            f'the index "{redacted(url)}" of this machine\'s pip cannot be mirrored',
            hint="set PIP_INDEX_URL to an http or https URL of a simple index, then start again",
        )
    return UpstreamSettings(
        url=url.rstrip("/") + "/",
        cert=options.get("cert") or None,
        proxy=options.get("proxy") or None,
        timeout_seconds=_seconds(options.get("timeout") or options.get("default-timeout")),
    )


def _seconds(text: str | None) -> float:
    if not text:
        return DEFAULT_UPSTREAM_TIMEOUT_SECONDS
    try:
        return float(text)
    except ValueError as error:
        raise InvalidInput(f'pip\'s timeout "{text}" is not a number of seconds') from error


def _pip_options(values: Mapping[str, str]) -> dict[str, str]:
    """Options by their long name, lower case with hyphens; the strongest source wins."""
    options: dict[str, str] = {}
    parsed = [_parse(path) for path in pip_configuration_files(values)]
    for section in ("global", "install"):
        for sections in parsed:
            options.update(sections.get(section, {}))
    for name, value in values.items():
        if name.startswith("PIP_") and value:
            options[_normalized(name[4:])] = value
    return options


def pip_configuration_files(values: Mapping[str, str]) -> list[Path]:
    """The configuration files that pip would read here, weakest first, whether they exist or not."""
    chosen = values.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    home = Path(values.get("HOME") or Path.home())
    system_folders = (values.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    files = [Path(folder, "pip", "pip.conf") for folder in system_folders if folder]
    files.append(Path("/etc/pip.conf"))
    if not (chosen and Path(chosen).exists()):
        files.append(home / ".pip" / "pip.conf")
        files.append(Path(values.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf")
    files.append(Path(sys.prefix) / "pip.conf")
    if chosen:
        files.append(Path(chosen))
    return files


def _parse(path: Path) -> dict[str, dict[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = _normalized  # type: ignore[assignment,method-assign]  # the documented way to set it
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"pip's configuration file {path} cannot be read") from error
    return {section: dict(parser.items(section)) for section in parser.sections()}


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")
