"""`apviso webhooks`: who is told of events, and how the deliveries went."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from apviso.cli.session import ApiKeyFile, ApiUrl, connected
from apviso.cli.settings import Json
from apviso.cli.showing import notice, print_done, print_facts, print_json, print_json_list, print_table
from apviso.protocol.webhooks import DeliveryStatus

if TYPE_CHECKING:
    from apviso.protocol.webhooks import Webhook

group = typer.Typer(help="Who is told of events; needs a key with the scope admin.", no_args_is_help=True)
WhichWebhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of a webhook.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(group, name="webhooks")


@group.command()
def add(
    url: Annotated[str, typer.Argument(help="Address that is told. Others on this host can see it: put no secret into it.")],
    event: Annotated[list[str] | None, typer.Option("--event", help="An event; may be given several times. Without it, all.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="What it is for.")] = None,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Tell an address of events from now on. Only the secret that signs them is written to standard output, and only here: keep it."""
    from apviso.protocol.webhooks import NewWebhook

    with connected(api_url, api_key_file) as client:
        wanted = NewWebhook.model_validate({"url": url, "events": event or ["*"], "description": description})
        issued = client.webhooks.add(wanted)
    if json:
        print_json(issued)
        return
    typer.echo(issued.secret)
    notice(f"Webhook {issued.webhook.id}. Try it: apviso webhooks test {issued.webhook.id}")


@group.command("list")
def list_(json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """List webhooks, without their secrets."""
    with connected(api_url, api_key_file) as client:
        webhooks = list(client.webhooks.all())
    if json:
        print_json_list("webhooks", webhooks)
        return
    rows = [(one.url, ", ".join(one.events), "yes" if one.enabled else "no", one.failing_since, one.id) for one in webhooks]
    print_table(("address", "events", "enabled", "failing since", "id"), rows, "There is no webhook: apviso webhooks add")


@group.command()
def show(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Show one webhook, and why it is disabled."""
    with connected(api_url, api_key_file) as client:
        _show(client.webhooks.get(webhook), json=json)


@group.command()
def enable(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Tell an address of events again, from now on; what was given up is sent again with `apviso webhooks replay`."""
    _switch(webhook, api_url, api_key_file, enabled=True, json=json)


@group.command()
def disable(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Tell an address nothing for now; what waits is given up."""
    _switch(webhook, api_url, api_key_file, enabled=False, json=json)


def _switch(webhook: str, api_url: str | None, api_key_file: str | None, *, enabled: bool, json: bool) -> None:
    from apviso.protocol.webhooks import WebhookPatch

    with connected(api_url, api_key_file) as client:
        _show(client.webhooks.edit(webhook, WebhookPatch(enabled=enabled)), json=json)


def _show(webhook: Webhook, *, json: bool) -> None:
    if json:
        from apviso.protocol.webhooks import WebhookAnswer

        print_json(WebhookAnswer(webhook=webhook))
        return
    print_facts(
        (
            ("Webhook", webhook.url),
            ("Id", webhook.id),
            ("Events", ", ".join(webhook.events)),
            ("For", webhook.description),
            ("Enabled", "yes" if webhook.enabled else "no"),
            ("Why not", webhook.disabled_reason),
            ("Failing since", webhook.failing_since),
            ("Earlier secrets until", webhook.previous_secrets_until),
        )
    )


@group.command()
def delete(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Tell this address nothing more."""
    with connected(api_url, api_key_file) as client:
        client.webhooks.delete(webhook)
    print_done(webhook, json=json)


@group.command("test")
def send_test(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Send one message `webhook.test`; `apviso webhooks deliveries` says how it went."""
    from apviso.protocol.webhooks import DeliveryAnswer

    with connected(api_url, api_key_file) as client:
        delivery = client.webhooks.test(webhook)
    if json:
        print_json(DeliveryAnswer(delivery=delivery))
    else:
        notice(f"Delivery {delivery.id} is on its way: apviso webhooks deliveries {webhook}")


@group.command("rotate-secret")
def rotate_secret(webhook: WhichWebhook, json: Json = False, api_url: ApiUrl = None, api_key_file: ApiKeyFile = None) -> None:
    """Issue a new secret, the only thing on standard output. For a day messages are signed with the one before it, too."""
    with connected(api_url, api_key_file) as client:
        issued = client.webhooks.rotate_secret(webhook)
    if json:
        print_json(issued)
    else:
        typer.echo(issued.secret)


@group.command()
def deliveries(
    webhook: WhichWebhook,
    status: Annotated[DeliveryStatus | None, typer.Option("--status", help="Only these.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many at most, newest first.")] = 50,
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Show what was sent, and how it went."""
    with connected(api_url, api_key_file) as client:
        found = list(islice(client.webhooks.deliveries(webhook, status=status), limit))
    if json:
        print_json_list("deliveries", found)
        return
    rows = [(one.event_at, one.event, one.status, one.attempts, one.response_status, one.error, one.id) for one in found]
    print_table(("at", "event", "status", "attempts", "answer", "error", "id"), rows, "Nothing was sent yet.")


@group.command()
def replay(
    webhook: WhichWebhook,
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="Id of a delivery.")],
    json: Json = False,
    api_url: ApiUrl = None,
    api_key_file: ApiKeyFile = None,
) -> None:
    """Send a message again, with the same id and body."""
    from apviso.protocol.webhooks import DeliveryAnswer

    with connected(api_url, api_key_file) as client:
        sent = client.webhooks.replay(webhook, delivery)
    if json:
        print_json(DeliveryAnswer(delivery=sent))
