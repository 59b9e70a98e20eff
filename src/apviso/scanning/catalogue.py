"""The kinds of flaws that scans report: CWE, default CVSS 3.1 vector, and our own words on each. Judges no single finding.

Score and severity always follow from the vector. The vectors are defaults for the class, not measured for the application."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cvss import CVSS3

from apviso.protocol.states import Severity

CVSS_NOTE = "The CVSS vector is the default of this class of flaw; adjust it to what the application protects."


class FlawClass(StrEnum):
    SQL_INJECTION = "sql_injection"
    COMMAND_EXECUTION = "command_execution"
    PATH_TRAVERSAL = "path_traversal"
    REFLECTED_XSS = "reflected_xss"
    STORED_XSS = "stored_xss"
    HTML_INJECTION = "html_injection"
    LDAP_INJECTION = "ldap_injection"
    XPATH_INJECTION = "xpath_injection"
    XXE = "xxe"
    SSRF = "ssrf"
    UNRESTRICTED_UPLOAD = "unrestricted_upload"
    OPEN_REDIRECT = "open_redirect"
    CRLF_INJECTION = "crlf_injection"
    CSRF = "csrf"
    BACKUP_FILE = "backup_file"
    HIDDEN_RESOURCE = "hidden_resource"
    STACK_TRACE = "stack_trace"
    PATH_DISCLOSURE = "path_disclosure"
    SERVER_ERROR = "server_error"
    RESOURCE_CONSUMPTION = "resource_consumption"
    CLEARTEXT_TRANSPORT = "cleartext_transport"
    CLEARTEXT_PASSWORD = "cleartext_password"  # noqa: S105 - a kind of flaw
    MISSING_HSTS = "missing_hsts"
    WEAK_CSP = "weak_csp"
    CLICKJACKING = "clickjacking"
    MIME_SNIFFING = "mime_sniffing"
    COOKIE_NOT_HTTPONLY = "cookie_not_httponly"
    COOKIE_NOT_SECURE = "cookie_not_secure"
    INCONSISTENT_REDIRECT = "inconsistent_redirect"
    HTTP_METHODS = "http_methods"
    AUTH_IGNORED = "auth_ignored"
    API_CONFORMANCE = "api_conformance"
    OLD_TLS = "old_tls"
    WEAK_CIPHER = "weak_cipher"
    BAD_CERTIFICATE = "bad_certificate"
    PRIVATE_AUTHORITY = "private_authority"
    HEARTBLEED = "heartbleed"
    ROBOT = "robot"
    OTHER = "other"


@dataclass(frozen=True)
class Entry:
    """`vector` is a CVSS 3.1 base vector without its prefix, None where a score would pretend to know more than it does.

    `site_wide`: one finding stands for the whole site, whatever page showed it first."""

    title: str
    cwe_id: int | None
    vector: str | None
    description: str
    remediation: str
    site_wide: bool = False

    @property
    def cvss_vector(self) -> str | None:
        return f"CVSS:3.1/{self.vector}" if self.vector else None


def entry(flaw: FlawClass) -> Entry:
    return _ENTRIES[flaw]


def rate(vector: str | None) -> tuple[float | None, Severity]:
    """Base score and severity of a CVSS 3.1 vector; informational without one."""
    if vector is None:
        return None, Severity.INFO
    score = float(CVSS3(vector).base_score)
    return score, _severity(score)


def _severity(score: float) -> Severity:
    """The bands of the CVSS 3.1 specification, section 5."""
    bands = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
    return next((severity for least, severity in bands if score >= least), Severity.INFO)


_ENTRIES: dict[FlawClass, Entry] = {
    FlawClass.SQL_INJECTION: Entry(
        "SQL injection", 89, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N",
        "Input of the request becomes part of a database query. Whoever sends the request can read or change data of the application.",
        "Use parametrized queries or an ORM's bound parameters everywhere; give the application's database account only what it needs.",
    ),
    FlawClass.COMMAND_EXECUTION: Entry(
        "Command execution", 78, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        "Input of the request is run as a command or as program code on the server.",
        "Do not build commands or code from input. Call programs with a fixed path and an argument list, without a shell.",
    ),
    FlawClass.PATH_TRAVERSAL: Entry(
        "Path traversal", 22, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N",
        "Input of the request is used as the path of a file, so that files outside the intended folder can be read or included.",
        "Choose files by an identifier from a fixed list; otherwise resolve the path and check that it stays inside the folder.",
    ),
    FlawClass.REFLECTED_XSS: Entry(
        "Reflected cross-site scripting", 79, "AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N",
        "Input of the request is shown in the page without escaping, so a prepared link runs script in the visitor's session.",
        "Escape output for the place where it stands, by the template engine's default, and add a Content Security Policy.",
    ),
    FlawClass.STORED_XSS: Entry(
        "Stored cross-site scripting", 79, "AV:N/AC:L/PR:L/UI:R/S:C/C:L/I:L/A:N",
        "Input is stored and later shown to others without escaping, so it runs script in their sessions.",
        "Escape stored text when it is shown, and add a Content Security Policy.",
    ),
    FlawClass.HTML_INJECTION: Entry(
        "HTML injection", 80, "AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "Input of the request is shown as markup of the page, so a prepared link can change what the visitor sees.",
        "Escape output for the place where it stands.",
    ),
    FlawClass.LDAP_INJECTION: Entry(
        "LDAP injection", 90, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:L/A:N",
        "Input of the request becomes part of a directory query.",
        "Escape input for LDAP filters and distinguished names with the library's own functions.",
    ),
    FlawClass.XPATH_INJECTION: Entry(
        "XPath injection", 643, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N",
        "Input of the request becomes part of an XPath query over XML data.",
        "Use XPath variables instead of building expressions from input.",
    ),
    FlawClass.XXE: Entry(
        "XML external entity", 611, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:L",
        "The XML parser resolves external entities, so a request can read files or reach other systems.",
        "Switch off document types and external entities in the XML parser.",
    ),
    FlawClass.SSRF: Entry(
        "Server-side request forgery", 918, "AV:N/AC:L/PR:N/UI:N/S:C/C:L/I:L/A:N",
        "The server fetches an address that the request names, and so reaches systems that the sender could not.",
        "Fetch only from a fixed list of hosts, after resolving the name, and block internal addresses on the way out.",
    ),
    FlawClass.UNRESTRICTED_UPLOAD: Entry(
        "Unrestricted file upload", 434, "AV:N/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H",
        "Files of any kind can be uploaded and are served or run by the server.",
        "Accept only expected types by content, store files outside the web root under names of your own.",
    ),
    FlawClass.OPEN_REDIRECT: Entry(
        "Open redirect", 601, "AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "The page sends visitors to any address that the link names, which makes deceptive links look genuine.",
        "Redirect only to paths of the own site or to addresses on a fixed list.",
    ),
    FlawClass.CRLF_INJECTION: Entry(
        "HTTP header injection", 113, "AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N",
        "Line breaks in the input reach the headers of the answer, so a prepared link can add headers or a second answer.",
        "Remove line breaks from everything that goes into a header, or use an HTTP library that refuses them.",
    ),
    FlawClass.CSRF: Entry(
        "Form without protection against cross-site request forgery", 352, "AV:N/AC:L/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "A form that changes something carries no token that another site could not know.",
        "Add an unpredictable token to each form and check it, and set SameSite on session cookies.",
    ),
    FlawClass.BACKUP_FILE: Entry(
        "Backup file within reach", 530, "AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N",
        "A copy of a file of the application can be downloaded; such copies often show source code or settings.",
        "Remove backup copies from the web root and refuse their extensions in the web server.",
    ),
    FlawClass.HIDDEN_RESOURCE: Entry(
        "Resource that no page links to", 538, "AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N",
        "A file or folder that no page links to can be fetched by guessing its name.",
        "Remove what need not be public and require authorization for the rest.",
    ),
    FlawClass.STACK_TRACE: Entry(
        "Stack trace in an answer", 209, "AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N",
        "An error page shows the inside of the application: files, lines, versions.",
        "Show visitors a plain error page and write the details to the log.",
    ),
    FlawClass.PATH_DISCLOSURE: Entry(
        "Server path in an answer", 200, "AV:N/AC:L/PR:N/UI:N/S:U/C:L/I:N/A:N",
        "An answer shows a full path of the server's file system.",
        "Show visitors a plain error page and keep paths in the log.",
        site_wide=True,
    ),
    FlawClass.SERVER_ERROR: Entry(
        "Unhandled server error", 755, None,
        "The application answered unexpected input with a server error. That may hide a flaw and deserves a look.",
        "Check the input and answer with a client error; find the cause in the server's log.",
    ),
    FlawClass.RESOURCE_CONSUMPTION: Entry(
        "Very slow answer", 400, None,
        "The application did not answer unexpected input in time. It may be possible to keep the server busy that way.",
        "Bound the work that one request can cause and set time-outs.",
    ),
    FlawClass.CLEARTEXT_TRANSPORT: Entry(
        "No encryption on the way", 319, "AV:A/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:N",
        "The application is served by plain HTTP and does not send visitors to HTTPS, so others in the network can read and change it.",
        "Serve everything by HTTPS and redirect plain HTTP to it.",
        site_wide=True,
    ),
    FlawClass.CLEARTEXT_PASSWORD: Entry(
        "Password sent without encryption", 523, "AV:A/AC:H/PR:N/UI:R/S:U/C:H/I:N/A:N",
        "A password field is on a page or in a form that is sent by plain HTTP.",
        "Serve and submit the form by HTTPS only.",
    ),
    FlawClass.MISSING_HSTS: Entry(
        "HTTP Strict Transport Security is not set", 319, "AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N",
        "Browsers are not told to use HTTPS only, so a first visit can be held on plain HTTP.",
        "Send Strict-Transport-Security with a long max-age on all HTTPS answers.",
        site_wide=True,
    ),
    FlawClass.WEAK_CSP: Entry(
        "Content Security Policy is missing or weak", 693, "AV:N/AC:H/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "Without a strict policy the browser runs script from anywhere, so an injection does more harm.",
        "Send a Content-Security-Policy that names the own sources for scripts, objects, forms, frames and the base address.",
        site_wide=True,
    ),
    FlawClass.CLICKJACKING: Entry(
        "Page can be framed by other sites", 1021, "AV:N/AC:H/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "Another site can show the page inside its own and lead clicks astray.",
        "Send frame-ancestors in the Content-Security-Policy, or X-Frame-Options: DENY.",
        site_wide=True,
    ),
    FlawClass.MIME_SNIFFING: Entry(
        "Browsers may guess the content type", 693, "AV:N/AC:H/PR:N/UI:R/S:U/C:N/I:L/A:N",
        "Without X-Content-Type-Options a browser may run a file as something else than it was sent as.",
        "Send X-Content-Type-Options: nosniff and a correct Content-Type.",
        site_wide=True,
    ),
    FlawClass.COOKIE_NOT_HTTPONLY: Entry(
        "Cookie without HttpOnly", 1004, "AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N",
        "Script in the page can read the cookie, so cross-site scripting can steal it.",
        "Set HttpOnly on every cookie that script need not read.",
        site_wide=True,
    ),
    FlawClass.COOKIE_NOT_SECURE: Entry(
        "Cookie without Secure", 614, "AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N",
        "The cookie is also sent over plain HTTP, where others in the network can read it.",
        "Serve the application by HTTPS and set Secure on every cookie.",
        site_wide=True,
    ),
    FlawClass.INCONSISTENT_REDIRECT: Entry(
        "Redirect that carries a page", 698, None,
        "A redirect carries a body as if the page went on after it; what was meant to be hidden may be in it.",
        "End the handling of the request after a redirect.",
    ),
    FlawClass.HTTP_METHODS: Entry(
        "Unusual HTTP methods are offered", 650, None,
        "The server names methods beyond those that pages need.",
        "Switch off the methods that the application does not use.",
        site_wide=True,
    ),
    FlawClass.AUTH_IGNORED: Entry(
        "Operation answers without the credentials that it is documented to need", 306, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:N",
        "The API's document says that the operation needs credentials, but it answers requests that have none or wrong ones.",
        "Check the credentials in one place for all operations, and refuse what has none with 401.",
    ),
    FlawClass.API_CONFORMANCE: Entry(
        "Answer does not follow the API's document", 684, None,
        "The operation answers otherwise than its document says. Clients may break; sometimes more is told than was meant.",
        "Correct the operation or its document.",
    ),
    FlawClass.OLD_TLS: Entry(
        "Old TLS versions are accepted", 326, "AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:N",
        "The server agrees to versions of TLS that are broken or withdrawn (RFC 8996).",
        "Accept TLS 1.2 and 1.3 only.",
        site_wide=True,
    ),
    FlawClass.WEAK_CIPHER: Entry(
        "Weak cipher suites are accepted", 327, "AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:N",
        "The server agrees to ciphers that do not encrypt, do not authenticate, or can be broken.",
        "Offer suites with forward secrecy and authenticated encryption only (ECDHE with AES-GCM or ChaCha20-Poly1305).",
        site_wide=True,
    ),
    FlawClass.BAD_CERTIFICATE: Entry(
        "Certificate does not prove who the server is", 295, "AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:L/A:N",
        "The certificate is expired, for another name, signed by itself or made with a weak key; clients cannot rely on it.",
        "Install a certificate for this name from an authority that the clients trust, and renew it by itself.",
        site_wide=True,
    ),
    FlawClass.PRIVATE_AUTHORITY: Entry(
        "Certificate from an authority that is not public", None, None,
        "No public trust store knows the authority that signed the certificate. That is usual inside a company, if the clients know it.",
        "Make sure that all clients trust the authority; otherwise use one that they do.",
        site_wide=True,
    ),
    FlawClass.HEARTBLEED: Entry(
        "Heartbleed", 126, "AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N",
        "Anyone can read pieces of the server's memory, its private key among them (CVE-2014-0160).",
        "Update OpenSSL, then replace key and certificate.",
        site_wide=True,
    ),
    FlawClass.ROBOT: Entry(
        "RSA key exchange gives its answers away (ROBOT)", 203, "AV:N/AC:H/PR:N/UI:N/S:U/C:H/I:N/A:N",
        "The server tells by its behaviour whether a guessed RSA message was well formed, so recorded connections can be decrypted.",
        "Update the TLS library and switch RSA key exchange off.",
        site_wide=True,
    ),
    FlawClass.OTHER: Entry(
        "Observation of the scanner", None, None,
        "The scanner reported something that this catalogue has no class for.",
        "Read the evidence and judge it.",
    ),
}  # fmt: skip
