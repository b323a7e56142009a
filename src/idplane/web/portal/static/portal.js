// What scripts add: each page works without them. No state is kept here but the theme, which is a cookie, and what a form holds.

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("button[data-copy]");
  if (copy) {
    try {
      await navigator.clipboard.writeText(copy.dataset.copy);
    } catch {
      return;
    }
    copy.dataset.copied = "";
    const label = copy.getAttribute("aria-label");
    copy.setAttribute("aria-label", "Copied");
    setTimeout(() => {
      delete copy.dataset.copied;
      copy.setAttribute("aria-label", label);
    }, 1500);
    return;
  }
  const opener = event.target.closest("button[data-dialog]");
  if (opener) {
    event.preventDefault();
    document.getElementById(opener.dataset.dialog)?.showModal();
    return;
  }
  if (event.target.closest("dialog button[data-close]")) {
    event.preventDefault();
    event.target.closest("dialog").close();
  }
});

// A dialog is a popover for browsers without scripts; with them it is modal.
for (const dialog of document.querySelectorAll("dialog[popover]")) dialog.removeAttribute("popover");

// The theme changes at once; the form tells the server, for the next page.
document.querySelector(".theme-button")?.closest("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const button = event.submitter;
  const dark = getComputedStyle(document.documentElement).colorScheme === "dark" ||
    (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  button.value = dark ? "light" : "dark";
  document.documentElement.dataset.theme = button.value;
  button.setAttribute("aria-label", `Use the ${dark ? "dark" : "light"} theme`);
  const use = button.querySelector("use");
  use.setAttribute("href", use.getAttribute("href").replace(/#.*/, dark ? "#moon" : "#sun"));
  fetch(event.target.action, { method: "POST", body: new URLSearchParams(new FormData(event.target, button)), redirect: "manual" });
});

// Filters send themselves: at once for choices, after a pause for what is typed.
let typing;
const send = (form) => {
  const query = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  location.assign(`${form.getAttribute("action")}${query.size ? `?${query}` : ""}`);
};
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", (event) => event.target.type !== "search" && send(form));
  form.addEventListener("input", (event) => {
    if (event.target.type !== "search") return;
    clearTimeout(typing);
    typing = setTimeout(() => send(form), 500);
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    send(form);
  });
}
// After a filter has sent itself, what was typed goes on.
const typed = document.querySelector("form[data-auto] input[type=search]");
if (typed?.value && new URLSearchParams(location.search).has(typed.name)) {
  typed.focus({ preventScroll: true });
  typed.setSelectionRange(typed.value.length, typed.value.length);
}

// `data-live="10"` on an element with an id: every so many seconds its content is asked for again (the same address, or `data-from`),
// while the page is looked at and nobody works inside of it. Rows with a `data-key` that were not there before are marked. A button with
// `data-pause` and the element's id holds it, and `data-live-said` tells of new rows.
const keysIn = (place) => new Set([...place.querySelectorAll("[data-key]")].map((row) => row.dataset.key));
const isBusy = (place) => {
  const selection = getSelection();
  const selecting = !selection.isCollapsed && place.contains(selection.anchorNode);
  return selecting || place.contains(document.activeElement) || place.querySelector("dialog[open]");
};
const tell = (place, words) => {
  const said = document.querySelector(`[data-live-said="${place.id}"]`);
  if (said) said.textContent = words;
};
const refresh = async (place) => {
  if (document.hidden || "paused" in place.dataset || isBusy(place)) return;
  const answer = await fetch(place.dataset.from || location.href, { headers: { accept: "text/html" }, redirect: "manual" });
  if ("paused" in place.dataset) return;
  if (!answer.ok) throw new Error(String(answer.status));
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(place.id);
  if (!fresh || fresh.innerHTML === place.innerHTML) return;
  const known = keysIn(place);
  const added = [...fresh.querySelectorAll("[data-key]")].filter((row) => !known.has(row.dataset.key));
  for (const row of added) row.classList.add("fresh");
  place.replaceChildren(...fresh.childNodes);
  if (added.length) tell(place, `${added.length} new`);
};
for (const place of document.querySelectorAll("[data-live][id]")) {
  setInterval(() => refresh(place).catch(() => tell(place, "Not up to date: load the page again")), Math.max(2, Number(place.dataset.live) || 10) * 1000);
}
for (const button of document.querySelectorAll("button[data-pause]")) {
  const place = document.getElementById(button.dataset.pause);
  button.hidden = false;
  button.addEventListener("click", () => {
    const paused = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(paused));
    button.querySelector("span").textContent = paused ? "Paused" : "Live";
    if (paused) place.dataset.paused = "";
    else delete place.dataset.paused;
  });
}

// "/" leads to the search.
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest("input, textarea, select, [contenteditable]");
  if (event.key === "/" && !busy && !event.ctrlKey && !event.metaKey && !event.altKey) {
    const search = document.querySelector("input[data-slash]");
    if (search) {
      event.preventDefault();
      search.focus();
    }
  }
});

// The code of a sign-in link stands behind the "#", so that no request line and no log holds it. It is taken out of the address first.
const code = document.querySelector("form[data-link-code] input[name=code]");
if (code && location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search);
  code.form.requestSubmit();
}
