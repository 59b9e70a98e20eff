"""`apviso admin`: what the operator of the control plane's host does. It works on the database, beside a running server or without."""

from __future__ import annotations

import asyncio
import json as json_
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from apviso.cli.exits import Exit
from apviso.cli.settings import DatabaseUrl, DataDir, Json, fail, server_settings
from apviso.protocol.states import Visibility

if TYPE_CHECKING:
    from apviso.protocol.licenses import License

group = typer.Typer(help="Operate the control plane from its own host.", no_args_is_help=True)
licenses = typer.Typer(help="Issue, install and show licenses.", no_args_is_help=True)
group.add_typer(licenses, name="license")

Organization = Annotated[str | None, typer.Option("--organization", help="Name of the organization, where there are several.")]
Result = TypeVar("Result")


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="admin")


@group.command()
def bootstrap(
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    organization: Annotated[str, typer.Option("--organization", help="Name of the organization.")] = "Default",
    json: Json = False,
) -> None:
    """Create an organization, or find it; issue an API key that may do everything, and a link to the dashboard. Both are shown once."""
    from apviso.server import operator

    settings = server_settings(data_dir=data_dir, database_url=database_url)
    name = organization.strip()
    if not 1 <= len(name) <= 120:
        fail(Exit.USAGE, "The name of an organization has 1 to 120 characters.")
    way_in, login_url = _run(operator.bootstrap(settings, name))
    told = {"organizationId": way_in.organization_id, "apiKey": way_in.key.reveal(), "loginUrl": login_url}
    if json:
        typer.echo(json_.dumps(told))
        return
    typer.echo(f"Organization  {name} ({told['organizationId']})")
    typer.echo(f"API key       {told['apiKey']}  (shown once: keep it)")
    typer.echo(f"Dashboard     {told['loginUrl']}  (works once, for a day: become an owner)")


@group.command()
def organization(
    require_verification: Annotated[
        bool | None,
        typer.Option("--require-verification/--no-require-verification", help="Whether control of public targets must be proved."),
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    organization: Organization = None,
    json: Json = False,
) -> None:
    """Show an organization, or change whether control of its targets must be proved before a scan (audited)."""
    from apviso.server import operator

    settings = server_settings(data_dir=data_dir, database_url=database_url)
    shown = _run(operator.set_verification(settings, organization, require_verification))
    if json:
        typer.echo(json_.dumps({"id": shown.id, "name": shown.name, "requiresVerification": shown.requires_verification}))
        return
    typer.echo(f"{shown.name} ({shown.id}): proof of control is {'required' if shown.requires_verification else 'not required'}")


@licenses.command()
def issue(
    plan: Annotated[str, typer.Option("--plan", help="Name of the plan.")],
    runners: Annotated[int, typer.Option("--runners", min=0, max=1_000_000, help="Registered runners.")],
    jobs: Annotated[int, typer.Option("--jobs", min=0, max=1_000_000, help="Scans at the same time.")],
    targets: Annotated[int, typer.Option("--targets", min=0, max=1_000_000, help="Targets.")],
    out: Annotated[Path, typer.Option("--out", help="File to write the license to.")],
    visibility: Annotated[list[Visibility], typer.Option("--visibility", help="A permitted visibility; give it several times.")],
    expires_in_days: Annotated[int, typer.Option("--expires-in-days", min=0, max=36_500)] = 365,
    grace_days: Annotated[int, typer.Option("--grace-days", min=0, max=3650, help="Days it still permits after its end.")] = 14,
    organization: Annotated[str, typer.Option("--organization", help="Whom it is for; * for anyone.")] = "*",
    suspended: Annotated[bool, typer.Option("--suspended", help="Permit nothing, whatever was sold before.")] = False,
    key: Annotated[Path, typer.Option("--key", help="The issuer's private key; made with the first use.")] = Path("issuer.key"),
) -> None:
    """Sign a license. The first use makes the issuer's key pair: keep the private key, give the .pub file to the installations."""
    import uuid_utils

    from apviso.server.licensing.issuing import BadKeyFile, open_issuer_key
    from apviso.server.licensing.license import Terms, sign

    now = datetime.now(UTC)
    try:
        terms = Terms(
            license_id=str(uuid_utils.uuid7()),
            organization=organization,
            plan=plan,
            runner_limit=runners,
            concurrent_job_limit=jobs,
            target_limit=targets,
            allowed_target_visibilities=visibility,
            issued_at=now,
            expires_at=now + timedelta(days=expires_in_days),
            grace_days=grace_days,
            suspended=suspended,
        )
        out.write_text(sign(terms, open_issuer_key(key)), encoding="utf-8")
    except BadKeyFile as error:
        fail(Exit.REVOKED_OR_MISCONFIGURED, str(error))
    except (OSError, ValueError) as error:
        fail(Exit.USAGE, f"The license was not written: {error}")
    typer.echo(f"License {terms.license_id} for {organization} written to {out}; installations need {key.with_suffix('.pub')}.")


@licenses.command()
def install(
    file: Annotated[Path, typer.Argument(help="The license file.")],
    issuer_key: Annotated[Path | None, typer.Option("--issuer-key", help="Trust this issuer's public key from now on.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    organization: Organization = None,
    json: Json = False,
) -> None:
    """Verify a license and put it in force; a running server has taken it up when this ends."""
    from apviso.server import operator

    settings = server_settings(data_dir=data_dir, database_url=database_url)
    document = _read(file)
    trusted = None if issuer_key is None else _read(issuer_key)
    _show(_run(operator.install_license(settings, document, trusted, organization)), json)


@licenses.command()
def show(data_dir: DataDir = None, database_url: DatabaseUrl = None, organization: Organization = None, json: Json = False) -> None:
    """Show what the license permits now."""
    from apviso.server import operator

    _show(_run(operator.show_license(server_settings(data_dir=data_dir, database_url=database_url), organization)), json)


def _run(doing: Coroutine[Any, Any, Result]) -> Result:
    """Wait for one change on the database, and end with the exit code of what went wrong."""
    import sqlite3

    from sqlalchemy.exc import SQLAlchemyError

    from apviso.server.errors import DatabaseUnavailable
    from apviso.server.operator import Declined, LicenseDeclined

    try:
        return asyncio.run(doing)
    except LicenseDeclined as error:
        fail(Exit.CHECK_FAILED, str(error))
    except Declined as error:
        fail(Exit.USAGE, str(error))
    # The address may hold a password, so the driver's own words are not repeated.
    except (DatabaseUnavailable, SQLAlchemyError, sqlite3.Error, OSError) as error:
        fail(Exit.UNREACHABLE, f"The database cannot be opened ({type(error).__name__}); check --data-dir and --database-url.")


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(Exit.USAGE, f"{file} cannot be read: {error}")


def _show(license_: License, json: bool) -> None:
    if json:
        typer.echo(license_.model_dump_json(by_alias=True))
        return
    until = f", until {license_.expires_at:%Y-%m-%d}" if license_.expires_at else ""
    typer.echo(f"Plan          {license_.plan} ({license_.license_state}{until})")
    typer.echo(f"Runners       {license_.runner_limit}")
    typer.echo(f"Scans at once {license_.concurrent_job_limit}")
    typer.echo(f"Targets       {license_.target_limit}")
    typer.echo(f"Visibilities  {', '.join(license_.allowed_target_visibilities) or 'none'}")
