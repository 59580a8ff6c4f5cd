// What makes the pages handier; each of them works without it: hover over charts, live figures, live previews of forms, copy buttons.

// A chart says what stands under the pointer at once; its titles would wait for a second.
const hint = document.createElement("div");
hint.className = "tip";
hint.hidden = true;
document.body.append(hint);
document.addEventListener("pointermove", (event) => {
  const bar = event.target.closest?.("svg .bar");
  const title = bar?.querySelector("title") || bar?.said;
  if (!title) {
    hint.hidden = true;
    return;
  }
  if (title instanceof Element) {
    bar.said = title.textContent;
    title.remove();
  }
  hint.textContent = bar.said;
  hint.hidden = false;
  const wide = hint.offsetWidth;
  hint.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - wide - 8))}px`;
  hint.style.top = `${event.clientY > 90 ? event.clientY - hint.offsetHeight - 12 : event.clientY + 18}px`;
});
addEventListener("scroll", () => { hint.hidden = true; }, { passive: true });

// The parts marked data-live of the page at `url` take the place of those here.
async function renew(url, signal) {
  const response = await fetch(url, { headers: { accept: "text/html" }, signal });
  if (response.redirected && new URL(response.url).pathname.endsWith("/sign-in")) location.reload();
  if (!response.ok) return false;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const other = fresh.getElementById(part.id);
    if (!other) continue;
    const open = [...part.querySelectorAll("details")].map((one) => one.open);
    part.replaceChildren(...other.childNodes);
    part.querySelectorAll("details").forEach((one, place) => { one.open = open[place] ?? one.open; });
  }
  return true;
}

const pause = document.querySelector("[data-refresh]");
if (pause) {
  const every = Number(pause.dataset.refresh) * 1000;
  let paused = sessionStorage.getItem("paused") === "1";
  const tell = () => {
    pause.textContent = paused ? "Refresh live" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  };
  const busy = () => document.querySelector("[data-live]:focus-within") || !hint.hidden;
  setInterval(() => {
    if (!paused && !document.hidden && !busy()) renew(location.href).catch(() => {});
  }, every);
  pause.addEventListener("click", () => {
    paused = !paused;
    sessionStorage.setItem("paused", paused ? "1" : "0");
    tell();
    if (!paused) renew(location.href).catch(() => {});
  });
  pause.hidden = false;
  tell();
}

// A form marked data-preview shows what it would do while it is filled in.
for (const form of document.querySelectorAll("form[data-preview]")) {
  let timer = 0;
  let asked = null;
  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      asked?.abort();
      asked = new AbortController();
      const fields = new FormData(form);
      fields.delete("csrf");
      const query = new URLSearchParams([...fields].filter(([, value]) => value !== ""));
      try {
        if (await renew(`${location.pathname}?${query}`, asked.signal)) history.replaceState(null, "", `?${query}`);
      } catch (failure) {
        if (failure.name !== "AbortError") throw failure;
      }
    }, 300);
  });
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = source.value ?? source.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      source.select?.();
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}
