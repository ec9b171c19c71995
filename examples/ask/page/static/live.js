// Keeps every [data-live] part of the page as the server has it now; what is typed or opened elsewhere stays.
const EVERY = 800;

async function refresh() {
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (!now || now.outerHTML === old.dataset.seen) continue;
    const seen = now.outerHTML;
    old.replaceWith(now);
    now.dataset.seen = seen;
  }
}

async function live() {
  if (!document.hidden) {
    try {
      await refresh();
      document.body.classList.remove("away");
    } catch {
      document.body.classList.add("away");
    }
  }
  if (document.querySelector("[data-live]")) setTimeout(live, EVERY);
}

setTimeout(live, EVERY);
