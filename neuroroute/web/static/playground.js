// The playground: one prompt to up to three models at once, each answer as it comes, then what it cost and why it was chosen.

const form = document.getElementById("ask");
const stop = document.getElementById("stop");
const answers = document.getElementById("answers");
const blank = document.getElementById("answer");
let running = null;

const money = (usd) => (usd === null || usd === undefined ? "unknown" : `$${Number(usd).toFixed(usd >= 1 ? 2 : 6)}`);
const time = (ms) => (ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);

function fact(list, name, value) {
  const box = document.createElement("div");
  const term = document.createElement("dt");
  const text = document.createElement("dd");
  term.textContent = name;
  text.textContent = value;
  box.append(term, text);
  list.append(box);
}

function cell(row, text, kind = "td") {
  const made = document.createElement(kind);
  made.textContent = text;
  row.append(made);
  return made;
}

function decision(card, found) {
  const body = card.querySelector("tbody");
  for (const one of found.candidates || []) {
    const row = document.createElement("tr");
    cell(row, one.model, "th").scope = "row";
    cell(row, one.chosen ? "chosen" : (one.closed || []).join(", ").replaceAll("_", " ") || "passed");
    const figures = [one.score?.toFixed(3), one.quality?.toFixed(2), money(one.expected_cost_usd), time(one.expected_latency_ms)];
    for (const figure of figures) cell(row, figure ?? "–").className = "figure";
    body.append(row);
  }
  card.querySelector("details").hidden = body.children.length === 0;
  const seen = found.classification;
  const facts = card.querySelector(".facts");
  if (seen) fact(facts, "Label", `${seen.label}, difficulty ${seen.difficulty.toFixed(2)}`);
  if (found.reason) card.querySelector(".route").textContent = found.reason;
}

// The events of a stream, each as its parsed data, until [DONE].
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let kept = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    kept += value;
    for (let end = kept.indexOf("\n\n"); end >= 0; end = kept.indexOf("\n\n")) {
      const lines = kept.slice(0, end).split("\n");
      kept = kept.slice(end + 2);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

function show(card, response, took, first, usage) {
  const facts = card.querySelector(".facts");
  const model = response.headers.get("x-neuroroute-model");
  const provider = response.headers.get("x-neuroroute-provider");
  if (model) fact(facts, "Answered by", provider ? `${model} at ${provider}` : model);
  if (first) fact(facts, "First token", time(first));
  fact(facts, "Time", time(took));
  if (usage) fact(facts, "Tokens", `${usage.prompt_tokens} in, ${usage.completion_tokens} out`);
  const cache = response.headers.get("x-neuroroute-cache");
  if (cache) fact(facts, "Cache", cache);
}

// What the books say of a call, a moment after its end: they are written in batches.
async function booked(card, requestId) {
  for (const wait of [700, 1500, 3000, 6000]) {
    await new Promise((done) => setTimeout(done, wait));
    const response = await fetch("/dashboard/requests?limit=20", { headers: { accept: "application/json" } });
    if (!response.ok) return;
    const row = (await response.json()).data.find((one) => one.request_id === requestId);
    if (row) {
      const facts = card.querySelector(".facts");
      fact(facts, "Cost", money(row.cost_usd));
      if (row.baseline_cost_usd !== null && row.cost_usd !== null) fact(facts, "Saved", money(row.baseline_cost_usd - row.cost_usd));
      const link = document.createElement("a");
      link.href = `/dashboard/requests/${requestId}`;
      link.textContent = "Open this call";
      card.append(link);
      return;
    }
  }
}

async function ask(model, prompt, card, signal) {
  const text = card.querySelector(".text");
  const began = performance.now();
  let first = 0;
  let usage = null;
  const body = {
    model,
    stream: true,
    stream_options: { include_usage: true },
    messages: [{ role: "user", content: prompt }],
    neuroroute: { explain: true },
  };
  try {
    const response = await fetch("/dashboard/playground/chat", {
      method: "POST",
      headers: { "content-type": "application/json", "x-csrf-token": form.dataset.csrf },
      body: JSON.stringify(body),
      signal,
    });
    if (!response.ok) throw new Error((await response.json()).error?.message || `Status ${response.status}`);
    card.querySelector(".route").textContent = response.headers.get("x-neuroroute-route") || "";
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      const piece = event.choices?.[0]?.delta?.content;
      if (piece) {
        first ||= performance.now() - began;
        text.textContent += piece;
      }
      if (event.usage) usage = event.usage;
      if (event.neuroroute) decision(card, event.neuroroute);
    }
    show(card, response, performance.now() - began, first, usage);
    booked(card, response.headers.get("x-request-id")).catch(() => {});
  } catch (failure) {
    if (failure.name === "AbortError") {
      card.querySelector(".route").textContent = "Stopped.";
      return;
    }
    text.classList.add("failed");
    text.textContent += `${text.textContent ? "\n\n" : ""}${failure.message}`;
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const data = new FormData(form);
  const models = data.getAll("model").filter(Boolean);
  const prompt = data.get("prompt");
  running?.abort();
  const mine = new AbortController();
  running = mine;
  stop.disabled = false;
  answers.replaceChildren();
  answers.setAttribute("aria-busy", "true");
  await Promise.all(
    models.map((model) => {
      const card = blank.content.cloneNode(true).firstElementChild;
      card.querySelector("h2").textContent = model;
      card.querySelector(".route").textContent = "Waiting for the first token …";
      answers.append(card);
      return ask(model, prompt, card, mine.signal);
    }),
  );
  if (running === mine) {
    stop.disabled = true;
    answers.removeAttribute("aria-busy");
  }
});

stop.addEventListener("click", () => running?.abort());
