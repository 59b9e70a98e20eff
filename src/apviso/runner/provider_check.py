"""The preflight's check of model providers: a scan image that needs one gets one that is configured here, or the scan does not start."""

from __future__ import annotations

from apviso.protocol.states import EndReason
from apviso.runner.engines import Prepared
from apviso.runner.examination import Examination
from apviso.runner.providers import UnusableLogin, find_provider
from apviso.runner.station import Station


def check_model_provider(found: Examination, station: Station, prepared: Prepared) -> None:
    """The first provider that the image names and that is configured; one is enough, so no other is handed over."""
    if not prepared.model_providers:
        return
    problems = []
    for name in prepared.model_providers:
        try:
            provider = find_provider(name, station.environ)
        except UnusableLogin as error:
            problems.append(str(error))
            continue
        if provider is not None:
            station.redactor.learn(*provider.secrets)
            found.provider_credentials = provider.credentials
            found.passed("model_provider", f"The scan image is given the credentials for {name}.")
            return
    wanted = ", ".join(prepared.model_providers)
    message = " ".join([f"The scan image needs a model provider ({wanted}), and none of these is configured on this runner.", *problems])
    remedy = "Set the provider's variables for the daemon, as the settings of the runner say, or use an image that needs none."
    found.failed("model_provider", EndReason.INVALID_CONFIG, message, remedy)
