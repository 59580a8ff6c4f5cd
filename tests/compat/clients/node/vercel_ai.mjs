// Vercel's AI SDK with its three providers: @ai-sdk/openai (responses and chat), @ai-sdk/openai-compatible, @ai-sdk/anthropic.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, RetryError, embedMany, generateText, isStepCount, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { KEY, PICTURE, URL, each, holds, main, raises, same } from "./checks.mjs";

const openai = createOpenAI({ baseURL: `${URL}/v1`, apiKey: KEY });
const compatible = createOpenAICompatible({ name: "neuroroute", baseURL: `${URL}/v1`, apiKey: KEY, includeUsage: true, supportsStructuredOutputs: true });
const anthropic = createAnthropic({ baseURL: `${URL}/v1`, apiKey: KEY });
const speakers = {
  responses: (name) => openai(name),
  chat: (name) => openai.chat(name),
  compatible: (name) => compatible(name),
  messages: (name) => anthropic(name),
};
const schema = z.object({ city: z.string(), degrees: z.number().int() });
const tools = { weather: tool({ description: "the weather", inputSchema: schema, execute: async ({ city }) => `sunny in ${city}` }) };
const steps = isStepCount ?? stepCountIs;
const sunny = { city: "Paris", degrees: 7 };
const nothing = () => {};

for (const [speaker, speak] of Object.entries(speakers)) {
  const here = (name, check) => each(`${speaker}_${name}`, check);

  here("whole", async (at) => {
    const answer = await generateText({ model: speak(at.model("chat")), prompt: "hello there", maxRetries: 0 });
    same(answer.text, "Echo: hello there");
    same(answer.finishReason, "stop");
    holds(answer.usage.inputTokens > 0 && answer.usage.outputTokens > 0, JSON.stringify(answer.usage));
  });

  here("stream", async (at) => {
    const running = streamText({ model: speak(at.model("chat")), prompt: "a b c", maxRetries: 0, onError: nothing });
    const pieces = [];
    for await (const piece of running.textStream) pieces.push(piece);
    same(pieces.join(""), "Echo: a b c");
    holds(pieces.length > 1, "more than one piece");
    same(await running.finishReason, "stop");
    holds((await running.usage).outputTokens > 0, "usage");
  });

  here("tools", async (at) => {
    const model = speak(at.model("chat"));
    const whole = await generateText({ model, prompt: "the weather, twice", tools, stopWhen: steps(3), maxRetries: 0 });
    same(whole.steps[0].toolCalls.map((call) => call.input), [sunny, sunny]);
    same(whole.text, "The tool said: sunny in Paris");
    const running = streamText({ model, prompt: "the weather", tools, stopWhen: steps(3), maxRetries: 0, onError: nothing });
    same(await running.text, "The tool said: sunny in Paris");
    same((await running.steps)[0].toolCalls[0].input, sunny);
  });

  here("second_turn", async (at) => {
    const model = speak(at.model("chat"));
    const messages = [{ role: "user", content: "first words" }];
    const first = await generateText({ model, messages, maxRetries: 0 });
    const said = first.responseMessages ?? first.response.messages;
    const second = await generateText({ model, messages: [...messages, ...said, { role: "user", content: "and more" }], maxRetries: 0 });
    same(second.text, "Echo: and more");
  });

  here("structured", async (at) => {
    const asked = { model: speak(at.model("chat")), output: Output.object({ schema }), prompt: "the weather", maxRetries: 0 };
    same((await generateText(asked)).output, sunny);
    same(await streamText({ ...asked, onError: nothing }).output, sunny);
  });

  here("images", async (at) => {
    const image = { type: "image", image: Buffer.from(PICTURE, "base64"), mediaType: "image/png" };
    const messages = [{ role: "user", content: [{ type: "text", text: "what?" }, image] }];
    same((await generateText({ model: speak(at.called("eyes", 1)), messages, maxRetries: 0 })).text, "Echo: 1 pictures");
  });

  here("errors", async (at) => {
    const send = (what) => generateText({ model: speak(at.called(what, 1)), prompt: "x", maxRetries: 0 });
    const is = (status, text) => (error) => APICallError.isInstance(error) && error.statusCode === status && error.message.includes(text);
    same((await raises(is(400, "'temperature' does not support 9"), () => send("fails-400"))).isRetryable, false);
    await raises(is(400, "prompt is too long"), () => send("fails-overflow"));
    holds((await raises(is(429, "Rate limit reached"), () => send("fails-429"))).isRetryable, "429 is worth another try");
    holds((await raises(is(500, "The server had an error"), () => send("fails-500"))).isRetryable, "a failure there is worth another try");
    await raises(is(502, ""), () => send("fails-html"));
    await raises(is(404, "chit"), () => generateText({ model: speak(`${at.kind}-chit`), prompt: "x", maxRetries: 0 }));
    const told = [];
    const cut = streamText({ model: speak(at.called("fails-cut", 1)), prompt: "x", maxRetries: 0, onError: ({ error }) => told.push(error) });
    await cut.consumeStream();
    holds(told.length > 0, "a stream that was cut tells an error");
  });

  here("abort", async (at) => {
    const stop = new AbortController();
    const running = streamText({ model: speak(at.called("slow", 1)), prompt: "go on", abortSignal: stop.signal, maxRetries: 0, onError: nothing });
    for await (const _ of running.textStream) {
      stop.abort();
      break;
    }
    at.left();
  });
}

each("abort_whole", async (at) => {
    const whole = new AbortController();
    setTimeout(() => whole.abort(), 1000);
    await raises(
      () => true,
      () => generateText({ model: openai.chat(at.called("slow", 1)), prompt: "all", abortSignal: whole.signal, maxRetries: 0 }),
    );
    at.left();
});

each(
  "embeddings",
  async (at) => {
    for (const model of [openai.embedding(at.called("embed", 1)), compatible.embeddingModel(at.called("embed", 1))]) {
      same((await embedMany({ model, values: ["one", "two"] })).embeddings[0], [0.5, -0.25, 0, 1]);
    }
  },
  ["openai", "lmstudio"],
);

each(
  "retries",
  async (at) => {
    const send = (what, times) => generateText({ model: openai(at.called(what, times)), prompt: "x", maxRetries: 1 });
    await raises((error) => RetryError.isInstance(error) && error.errors.length === 2, () => send("fails-429", 2));
  },
  ["openai"],
);

await main();
