// npm `openai`: chat, completions, responses, embeddings.
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { KEY, KINDS, PICTURE, SCHEMA, URL, each, holds, main, raises, same } from "./checks.mjs";

const client = new OpenAI({ baseURL: `${URL}/v1`, apiKey: KEY, maxRetries: 0, timeout: 20_000 });
const Weather = z.object({ city: z.string(), degrees: z.number().int() });
const TOOL = { type: "function", function: { name: "weather", description: "the weather", parameters: SCHEMA } };
const says = (text) => [{ role: "user", content: text }];
const sunny = { city: "Paris", degrees: 7 };

each("whole", async (at) => {
  const answer = await client.chat.completions.create({ model: at.model("chat"), messages: says("hello there") });
  same(answer.choices[0].message.content, "Echo: hello there");
  same(answer.choices[0].finish_reason, "stop");
  holds(answer._request_id && answer.usage.total_tokens > 0, "request id and usage");
});

each("stream", async (at) => {
  const stream = await client.chat.completions.create({ model: at.model("chat"), messages: says("a b c"), stream: true });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0].delta.content ?? "";
  same(text, "Echo: a b c");
  const helped = client.chat.completions.stream({
    model: at.model("chat"), messages: says("by the helper"), stream_options: { include_usage: true },
  });
  const final = await helped.finalChatCompletion();
  same(final.choices[0].message.content, "Echo: by the helper");
  same(final.choices[0].message.role, "assistant");
  holds((await helped.totalUsage()).completion_tokens > 0, "usage");
});

each("tools", async (at) => {
  const turns = says("the weather, twice");
  const whole = (await client.chat.completions.create({ model: at.model("chat"), messages: turns, tools: [TOOL] })).choices[0].message;
  const streamed = (
    await client.chat.completions.stream({ model: at.model("chat"), messages: turns, tools: [TOOL] }).finalChatCompletion()
  ).choices[0].message;
  const other = KINDS[(KINDS.indexOf(at.kind) + 1) % KINDS.length];
  for (const [said, kind] of [[whole, at.kind], [streamed, other]]) {
    same(said.tool_calls.map((call) => [call.type, call.function.name, JSON.parse(call.function.arguments)]), Array(2).fill(["function", "weather", sunny]));
    const calls = said.tool_calls.map(({ id, type, function: { name, arguments: given } }) => ({ id, type, function: { name, arguments: given } }));
    const results = calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "sunny" }));
    const messages = [...turns, { role: "assistant", content: said.content, tool_calls: calls }, ...results];
    const answer = await client.chat.completions.create({ model: `${kind}-chat`, messages, tools: [TOOL] });
    same(answer.choices[0].message.content, "The tool said: sunny");
  }
  const runner = client.chat.completions.runTools({
    model: at.model("chat"), messages: says("the weather"), stream: true,
    tools: [{ type: "function", function: { ...TOOL.function, parse: JSON.parse, function: ({ city }) => `sunny in ${city}` } }],
  });
  same(await runner.finalContent(), "The tool said: sunny in Paris");
});

each("structured", async (at) => {
  const response_format = zodResponseFormat(Weather, "weather");
  const parsed = await client.chat.completions.parse({ model: at.model("chat"), messages: says("the weather"), response_format });
  same(parsed.choices[0].message.parsed, sunny);
  const stream = client.chat.completions.stream({ model: at.model("chat"), messages: says("the weather again"), response_format });
  same((await stream.finalChatCompletion()).choices[0].message.parsed, sunny);
});

each("images", async (at) => {
  const shown = { type: "image_url", image_url: { url: `data:image/png;base64,${PICTURE}` } };
  const messages = [{ role: "user", content: [{ type: "text", text: "what?" }, shown] }];
  same((await client.chat.completions.create({ model: at.called("eyes", 1), messages })).choices[0].message.content, "Echo: 1 pictures");
});

each(
  "embeddings",
  async (at) => {
    const packed = await client.embeddings.create({ model: at.called("embed", 2), input: ["one", "two words"] });
    same(packed.data.map((row) => [row.index, Array.from(row.embedding)]), [[0, [0.5, -0.25, 0, 1]], [1, [0.5, -0.25, 1, 1]]]);
    const floats = await client.embeddings.create({ model: at.model("embed"), input: "x", encoding_format: "float", dimensions: 2 });
    same(floats.data[0].embedding, [0.5, -0.25]);
  },
  ["openai", "lmstudio"],
);

each("responses", async (at) => {
  const first = await client.responses.create({ model: at.model("chat"), input: "hello" });
  same(first.output_text, "Echo: hello");
  const stream = client.responses.stream({ model: at.model("chat"), input: "more", previous_response_id: first.id });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  same([kinds[0], kinds.at(-1)], ["response.created", "response.completed"]);
  same((await stream.finalResponse()).output_text, "Echo: more");
});

each("completions", async (at) => {
  const model = at.model(at.kind === "openai" ? "instruct" : "chat");
  same((await client.completions.create({ model, prompt: "once upon" })).choices[0].text, "Echo: once upon");
});

each("errors", async (at) => {
  const send = (what, times = 1, more = {}, options = {}) =>
    client.chat.completions.create({ model: at.called(what, times), messages: says("x"), ...more }, options);
  const is = (kind) => (error) => error?.constructor === kind;
  for (const stream of [false, true]) {
    const refused = await raises(is(OpenAI.BadRequestError), () => send("fails-400", 1, { stream }));
    holds(refused.message.includes("'temperature' does not support 9"), refused.message);
    same(refused.type, "invalid_request_error");
    if (at.kind !== "anthropic") same([refused.param, refused.code], ["temperature", "unsupported_value"]);
  }
  holds((await raises(is(OpenAI.BadRequestError), () => send("fails-overflow"))).message.includes("prompt is too long"), "overflow");
  await raises(is(OpenAI.InternalServerError), () => send("fails-403", 1, {}, { maxRetries: 2 }));
  const limited = await raises(is(OpenAI.RateLimitError), () => send("fails-429", 3, {}, { maxRetries: 2 }));
  holds(limited.requestID, "the error has a request id");
  await raises(is(OpenAI.InternalServerError), () => send("fails-500"));
  same((await raises(is(OpenAI.InternalServerError), () => send("fails-html"))).status, 502);
  const cut = await raises((error) => error instanceof OpenAI.APIError, async () => {
    for await (const _ of await send("fails-cut", 1, { stream: true }));
  });
  holds(cut.message.length > 5, "a cut stream says why");
  const unknown = await raises(is(OpenAI.NotFoundError), () => client.chat.completions.create({ model: `${at.kind}-chit`, messages: says("x") }));
  same(unknown.code, "model_not_found");
  const stranger = new OpenAI({ baseURL: `${URL}/v1`, apiKey: "nr_nobody", maxRetries: 0 });
  await raises(is(OpenAI.AuthenticationError), () => stranger.chat.completions.create({ model: at.model("chat"), messages: says("x") }));
});

each("abort", async (at) => {
  for await (const _ of await client.chat.completions.create({ model: at.called("slow", 3), messages: says("go on"), stream: true })) break;
  at.left();
  const stop = new AbortController();
  const running = await client.chat.completions.create({ model: at.model("slow"), messages: says("go on"), stream: true }, { signal: stop.signal });
  for await (const _ of running) stop.abort();
  at.left();
  const whole = new AbortController();
  setTimeout(() => whole.abort(), 1000);
  await raises(
    (error) => error instanceof OpenAI.APIUserAbortError,
    () => client.chat.completions.create({ model: at.model("slow"), messages: says("all of it") }, { signal: whole.signal }),
  );
  at.left();
});

each("models", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  holds(["auto", "openai-chat", "anthropic-chat"].every((name) => names.includes(name)), names.join(" "));
}, ["openai"]);

await main();
