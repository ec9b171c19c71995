// Keeps every [data-live] part of the page as the server has it now; what is typed elsewhere stays.
const EVERY = 800;

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now) continue;
    if (old.innerHTML !== now.innerHTML) old.innerHTML = now.innerHTML;
    old.toggleAttribute("data-live", now.hasAttribute("data-live"));
  }
}

async function live() {
  if (!document.hidden) {
    const isThere = await refresh().then(() => true, () => false);
    document.body.classList.toggle("away", !isThere);
  }
  setTimeout(live, EVERY);
}

setTimeout(live, EVERY);
