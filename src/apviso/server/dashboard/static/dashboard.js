// What makes a page move: ages that tick, changes that arrive in place, dialogs, copying, keys. Without it every page works all the same.
const EVENTS_APART_MS = 700; // a page is fetched anew at most this often
const BEATS_APART_MS = 5000; // what no event tells (a last contact) is fetched this often while the page is seen
const page = document.body.dataset;
const kinds = page.live.split(" ").filter(Boolean);
const ahead = Date.parse(page.now) - Date.now(); // the server's clock counts
document.documentElement.classList.add("has-script");
document.querySelector(".rail [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" }); // where the rail is a bar

// Ages

function age(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  return `${whole} s`;
}

function tick() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("time[data-age], time[data-until]")) {
    const seconds = (now - Date.parse(time.dateTime)) / 1000;
    const text = "age" in time.dataset ? age(seconds) : seconds >= 0 ? "now" : `in ${age(-seconds)}`;
    if (time.textContent !== text) time.textContent = text;
  }
}
setInterval(tick, 1000);

// Changes in place: the page is fetched again, and what differs is taken over, element by element

let wanted = null;
let fetching = false;
let last = 0;

function want() {
  // What has ended does not change any more.
  if (wanted !== null || document.visibilityState === "hidden" || document.querySelector("#main [data-settled]")) return;
  wanted = setTimeout(refresh, Math.max(0, last + EVENTS_APART_MS - Date.now()));
}

async function refresh() {
  wanted = null;
  if (fetching || document.querySelector("dialog[open]")) return void setTimeout(want, EVENTS_APART_MS);
  const everything = isAsked;
  isAsked = false;
  fetching = true;
  last = Date.now();
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") return void location.reload(); // signed out meanwhile
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const [here, there] = [document.getElementById("main"), fresh.getElementById("main")];
    // What was just done stays said until somebody goes on.
    there?.querySelector(".said")?.remove();
    const said = here?.querySelector(":scope > .said");
    if (said) there?.prepend(said.cloneNode(true));
    if (here && there) {
      tellOf(everything ? [] : withheld(there));
      take(here, there);
    }
    document.title = fresh.title;
    tick();
    document.dispatchEvent(new Event("refreshed"));
  } catch {
    // The server is away; the stream connects again, and with it comes the next look.
  } finally {
    fetching = false;
  }
}

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id : "");
const alike = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);

function take(here, there) {
  if (here.isEqualNode(there)) return;
  if (here.dataset && "keep" in here.dataset) return; // its own script looks after it
  if (here.nodeType !== Node.ELEMENT_NODE) {
    if (here.nodeValue !== there.nodeValue) here.nodeValue = there.nodeValue;
    return;
  }
  if (here.matches("input, select, textarea")) return; // what somebody is writing stays
  for (const { name, value } of [...there.attributes]) if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  for (const { name } of [...here.attributes]) if (!there.hasAttribute(name) && name !== "open" && name !== "class") here.removeAttribute(name);
  if (here.matches("tr[id], li[id], p[id]") && told(here) !== told(there)) glow(here);
  const named = new Map([...here.children].filter((one) => one.id).map((one) => [one.id, one]));
  let at = here.firstChild;
  for (const node of [...there.childNodes]) {
    const known = keyOf(node) ? named.get(node.id) : at && alike(at, node) ? at : null;
    if (known && alike(known, node)) {
      if (known === at) at = at.nextSibling;
      else here.insertBefore(known, at);
      take(known, node);
    } else {
      here.insertBefore(document.importNode(node, true), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    if (!(at.dataset && "keep" in at.dataset)) at.remove();
    at = next;
  }
}

// What an element says, but for ages and charts: those move all the time, and that is no news.
function told(element) {
  const copy = element.cloneNode(true);
  for (const moving of copy.querySelectorAll("time, svg")) moving.remove();
  return copy.textContent.replace(/\s+/g, " ");
}

function glow(element) {
  element.classList.remove("changed");
  void element.offsetWidth; // begins the animation anew
  element.classList.add("changed");
}

// A list that somebody has scrolled or filtered does not move under their eyes: what is new in it is counted, and comes when it is asked for

let isAsked = false; // the next look brings them

function withheld(there) {
  const fresh = [];
  for (const list of there.querySelectorAll("tbody[data-news]")) {
    const shown = document.getElementById(list.id);
    if (!shown || (shown.getBoundingClientRect().top >= 0 && !/=[^&]/.test(location.search))) continue;
    const known = new Set([...shown.rows].map((row) => row.id));
    const rows = [...list.rows];
    const last = rows.findLastIndex((row) => known.has(row.id));
    // Where rows have left, as many come from the next page: those move nothing.
    const left = known.size - rows.filter((row) => known.has(row.id)).length;
    const held = rows.filter((row, place) => !known.has(row.id) && (place < last || place > last + left));
    for (const row of held) row.remove();
    const [caption, before] = [list, shown].map((one) => one.closest("table").caption);
    if (held.length && caption && before) caption.replaceWith(before.cloneNode(true));
    fresh.push(...held.map(() => list.dataset.news));
  }
  return fresh;
}

const banner = document.createElement("p");
banner.className = "news";
banner.setAttribute("role", "status");

function tellOf(fresh) {
  if (!banner.isConnected && fresh.length) document.body.append(banner);
  // Of a later page they are only new there.
  const word = /[?&]page=(?!1(&|$))/.test(location.search) ? "other" : "new";
  const text = fresh.length ? `Show ${fresh.length} ${word} ${fresh[0]}${fresh.length > 1 ? "s" : ""}` : "";
  if (banner.textContent === text) return;
  const button = document.createElement("button");
  button.textContent = text;
  banner.replaceChildren(...(text ? [button] : []));
}

banner.addEventListener("click", () => {
  isAsked = true;
  scrollTo(0, 0);
  document.getElementById("main").focus({ preventScroll: true });
  refresh();
});

if (kinds.length) {
  const stream = new EventSource("/live");
  let wasCutOff = false;
  stream.onmessage = (message) => {
    const event = JSON.parse(message.data);
    document.dispatchEvent(new CustomEvent("happened", { detail: event }));
    if (kinds.includes(event.type.split(".")[0])) want();
  };
  // Also when the session has ended: the page is asked for before the stream tries again, and leads to the door.
  stream.onerror = () => {
    wasCutOff = true;
    want();
  };
  stream.onopen = () => wasCutOff && want();
  setInterval(want, BEATS_APART_MS);
  document.addEventListener("visibilitychange", want);
  addEventListener("pagehide", () => stream.close());
}

// Questions in a dialog: the page behind the link, without leaving this one

document.addEventListener("click", async (click) => {
  const link = click.target.closest("a[data-dialog]");
  if (!link || click.ctrlKey || click.metaKey || click.shiftKey) return;
  click.preventDefault();
  const answer = await fetch(link.href).catch(() => null);
  if (!answer?.ok || answer.redirected) return void (location.href = link.href);
  const asked = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  const dialog = document.createElement("dialog");
  dialog.append(...[...asked.childNodes].map((node) => document.importNode(node, true)));
  const title = dialog.querySelector("h1");
  if (title) {
    title.id = "dialog-title";
    dialog.setAttribute("aria-labelledby", title.id);
  }
  dialog.addEventListener("click", (inside) => {
    const leave = inside.target.closest("a.button");
    if (!leave) return;
    inside.preventDefault();
    dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    link.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
});

// Forms are sent once, however often their button is pressed

document.addEventListener("submit", (sending) => {
  const form = sending.target;
  if (form.getAttribute("method") !== "post" || sending.defaultPrevented) return;
  if ("sent" in form.dataset) return sending.preventDefault();
  form.dataset.sent = "";
  setTimeout(() => delete form.dataset.sent, 5000); // for whoever comes back to the page
});

// A page with a secret is the answer to a form: opened again, it is the page where the thing itself is, and the form is not sent again

const once = document.querySelector("#main [data-once]");
if (once) history.replaceState(null, "", once.dataset.once);

// Menus of rows close when somebody does something else

document.addEventListener("click", (click) => {
  for (const menu of document.querySelectorAll(".menu details[open]")) if (!menu.contains(click.target) || click.target.closest("a")) menu.open = false;
});

document.addEventListener("keydown", (press) => {
  const menu = press.key === "Escape" && document.querySelector(".menu details[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

// Copying

document.addEventListener("click", async (click) => {
  const button = click.target.closest("[data-copy]");
  if (!button) return;
  const text = button.parentElement.querySelector("pre, code").textContent;
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.parentElement.querySelector("pre, code"));
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = said), 1500);
});

// Forms that filter search while one types

for (const form of document.querySelectorAll("form.filters:not([data-while-typing])")) {
  form.addEventListener("change", () => form.requestSubmit());
}

// And those that do so in place, while one writes

for (const form of document.querySelectorAll("form[data-while-typing]")) {
  let pause = 0;
  form.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(() => {
      const asked = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
      history.replaceState(null, "", `?${asked}`);
      isAsked = true;
      refresh();
    }, 200);
  });
}
