// The log of a scan while it grows: lines are fetched in batches, the newest stay in the page, the rest is had on request.
const KEPT = 5000; // lines in the page
const BATCH = 1000; // lines of one answer
const PART = 250; // lines that are laid out, and let go, together
const APART_MS = 1000;
const box = document.getElementById("log");
const told = document.getElementById("log-told");
const follow = document.getElementById("log-follow");
const level = document.getElementById("log-level");
const search = document.getElementById("log-search");
const earlier = document.getElementById("log-earlier");
const state = () => document.getElementById("log-state").dataset;
const model = document.createElement("p");
model.append(document.createElement("span"), " ", document.createElement("bdi"));
let from = ""; // where the lines of the attempt that is shown come from
let count = 0;
let first = 1; // number of the first line in the page
let last = 0; // number of the last one
let needle = "";

async function fetched(after, limit) {
  const answer = await fetch(`${from}&after=${after}&limit=${limit}`);
  if (!answer.ok || answer.redirected) throw new Error(answer.statusText);
  return answer.json();
}

function lineOf([, at, kind, text]) {
  const line = model.cloneNode(true);
  line.className = kind;
  line.firstChild.textContent = at;
  if (kind === "warning" || kind === "error") line.insertBefore(document.createElement("b"), line.lastChild).textContent = `${kind} `;
  line.lastChild.textContent = text;
  line.hidden = needle !== "" && !text.toLowerCase().includes(needle);
  return line;
}

function append(lines) {
  for (const line of lines) {
    let part = box.lastElementChild;
    if (!part || part.childElementCount >= PART) part = box.appendChild(document.createElement("div"));
    part.append(lineOf(line));
  }
  count += lines.length;
  last = lines.at(-1)[0];
  while (count > KEPT) first += forget(box.firstElementChild);
}

function prepend(lines) {
  const before = box.scrollHeight - box.scrollTop;
  for (let end = lines.length; end > 0; end -= PART) {
    const part = document.createElement("div");
    part.append(...lines.slice(Math.max(0, end - PART), end).map(lineOf));
    box.prepend(part);
  }
  count += lines.length;
  first = lines[0][0];
  box.scrollTop = box.scrollHeight - before;
  while (count > KEPT) last -= forget(box.lastElementChild);
}

function forget(part) {
  const lines = part.childElementCount;
  part.remove();
  count -= lines;
  return lines;
}

function say() {
  const newer = Number(state().last) - last;
  const words = [`${count.toLocaleString("en")} lines here`];
  if (needle) words.push(`${box.querySelectorAll("p:not([hidden])").length.toLocaleString("en")} match`);
  if (newer > 0 && !follow.checked) words.push(`${newer.toLocaleString("en")} newer ones come when you follow`);
  told.textContent = words.join(", ");
  earlier.disabled = first <= 1;
}

function beginAfter(number) {
  box.replaceChildren();
  count = 0;
  last = number;
  first = number + 1;
}

async function catchUp() {
  const known = Number(state().last);
  if (known - last > KEPT) {
    // More has happened than the page keeps: go on near the end.
    beginAfter(known - KEPT);
  }
  for (let more = true; more && follow.checked; ) {
    const lines = await fetched(last, BATCH);
    more = lines.length === BATCH;
    if (lines.length) append(lines);
    box.scrollTop = box.scrollHeight;
  }
}

async function look() {
  try {
    if (state().from !== from) {
      // The first attempt, or the next one.
      from = state().from;
      beginAfter(0);
    }
    const isDone = !from || ("over" in state() && last >= Number(state().last));
    if (follow.checked && !isDone && document.visibilityState !== "hidden") await catchUp();
  } catch {
    // The server is away; the next look goes on after the last line.
  }
  say();
  setTimeout(look, APART_MS);
}

earlier.addEventListener("click", async () => {
  follow.checked = false;
  earlier.disabled = true;
  const limit = Math.min(BATCH, first - 1);
  try {
    const lines = await fetched(first - 1 - limit, limit);
    if (lines.length) prepend(lines);
    else first = 1;
  } catch {
    // Asked again by the next press.
  }
  say();
});

level.addEventListener("change", () => (box.dataset.level = level.value));
search.addEventListener("input", () => {
  needle = search.value.toLowerCase();
  for (const line of box.querySelectorAll("p")) line.hidden = needle !== "" && !line.lastChild.textContent.toLowerCase().includes(needle);
  if (follow.checked) box.scrollTop = box.scrollHeight;
  say();
});
follow.addEventListener("change", say);

// Whoever reads further up does not want to be taken away from there.
const leave = () => (follow.checked = false);
box.addEventListener("wheel", (event) => event.deltaY < 0 && leave(), { passive: true });
box.addEventListener("touchmove", leave, { passive: true });
box.addEventListener("pointerdown", (event) => event.target === box && leave());
box.addEventListener("keydown", (event) => ["ArrowUp", "PageUp", "Home"].includes(event.key) && leave());

look();
