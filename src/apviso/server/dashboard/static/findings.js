// Keys of the findings: j and k move, x ticks, 1 to 5 set the status, ? shows them. The list leaves its order for the page of one finding.
const STATUSES = ["open", "in_progress", "fixed", "accepted_risk", "false_positive"];
const KEPT = "apviso-findings";
const rows = () => [...document.querySelectorAll("#findings > tr")];
const shown = () => document.querySelector("[data-finding]")?.dataset.finding;
const idOf = (row) => row?.id.replace("finding-", "");
const focused = () => document.activeElement?.closest("#findings > tr");

function keep() {
  if (document.querySelector("[data-findings]")) sessionStorage.setItem(KEPT, JSON.stringify(rows().map(idOf)));
}

function move(step) {
  if (shown()) {
    const ids = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
    const next = ids[ids.indexOf(shown()) + step];
    if (ids.includes(shown()) && next) location.href = `/findings/${next}`;
    return;
  }
  const all = rows();
  const at = all.indexOf(focused());
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(Math.max(at + step, 0), all.length - 1)];
  next?.querySelector("th a").focus();
}

async function set(id, status) {
  const csrf = document.querySelector("#ticked input[name=csrf], #triage input[name=csrf]")?.value;
  if (!id || !csrf) return;
  const told = document.getElementById("told");
  const answer = await fetch(`/findings/${id}/status`, { method: "POST", body: new URLSearchParams({ csrf, userStatus: status }), redirect: "manual" }).catch(() => null);
  const isDone = answer?.type === "opaqueredirect";
  told.textContent = isDone ? `Set to ${status.replaceAll("_", " ")}.` : "Not set: the server did not take it. Open the page again.";
  const radio = isDone && shown() && document.querySelector(`#triage input[value=${status}]`);
  if (radio) radio.checked = true;
}

const isWriting = (node) => node.matches?.("input:not([type=checkbox], [type=radio]), select, textarea");

document.addEventListener("keydown", (press) => {
  if (press.ctrlKey || press.metaKey || press.altKey || isWriting(press.target) || document.querySelector("dialog[open]")) return;
  if (press.key === "j") move(1);
  else if (press.key === "k") move(-1);
  else if (press.key === "x") focused()?.querySelector("input[name=finding]")?.click();
  else if (press.key === "?") document.getElementById("keys").showModal();
  else if (/^[1-5]$/.test(press.key)) set(shown() ?? idOf(focused()), STATUSES[press.key - 1]);
  else return;
  press.preventDefault();
});

document.addEventListener("click", (click) => {
  if (click.target.closest("[data-keys]")) document.getElementById("keys").showModal();
  if (click.target.closest("[data-close]")) document.getElementById("keys").close();
  if (click.target.matches("[data-all]")) for (const box of document.querySelectorAll("input[name=finding]")) box.checked = click.target.checked;
});

// Where somebody is in the list: a row that leaves it, because of its new status, leaves its place to the next one

let place = -1;
document.addEventListener("focusin", () => (place = rows().indexOf(focused())));
document.addEventListener("pointerdown", () => (place = -1));
document.addEventListener("refreshed", () => {
  if (place >= 0 && document.activeElement === document.body) rows()[Math.min(place, rows().length - 1)]?.querySelector("th a").focus();
  keep();
});
keep();
