// What stands in [data-live] is fetched anew every few seconds and put in place, node by node:
// focus, selection, what is typed, scroll and open <details> stay.
"use strict";

const SECONDS = 5;

function same(one, other) {
  return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
}

function update(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
  }
  updateChildren(old, fresh);
}

// The reader's own doing.
function kept(element, name) {
  return (element.nodeName === "DETAILS" && name === "open") || (element.nodeName === "INPUT" && name === "value");
}

function updateChildren(old, fresh) {
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let found = at;
    while (found && !same(found, wanted)) found = wanted.id ? found.nextSibling : null;
    if (!found) {
      old.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    while (at !== found) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    update(found, wanted);
    at = found.nextSibling;
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // Not ours: a proxy's, or busy. Loaded, it would have no script to try again.
  if (!page.querySelector('link[href$="page.css"]')) throw new Error("no page of ours");
  const lives = [...document.querySelectorAll("[data-live]")];
  // Logged out, or something is wrong: the page says it itself.
  if (answer.redirected || lives.some((live) => !page.getElementById(live.id))) {
    location.reload();
    return;
  }
  for (const live of lives) update(live, page.getElementById(live.id));
}

function isBusy() {
  return document.hidden || !getSelection().isCollapsed;
}

async function keepFresh() {
  for (;;) {
    await new Promise((done) => setTimeout(done, SECONDS * 1000));
    if (isBusy()) continue;
    try {
      await refresh();
      document.documentElement.classList.remove("stale");
    } catch {
      document.documentElement.classList.add("stale"); // nobody answers: what is shown is of before
    }
  }
}

document.documentElement.classList.add("js");
if (document.querySelector("[data-live]")) keepFresh();
