// What the scripts of Node clients share: `checks.py` in JavaScript. One JSON line for each check of each kind of provider.

export const KINDS = ["openai", "anthropic", "lmstudio"];
export const URL = process.env.NR_URL;
export const KEY = process.env.NR_KEY;
export const PICTURE = process.env.NR_PICTURE;
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};
const found = [];

class At {
  calls = {};
  left_at_s = [];

  constructor(kind) {
    this.kind = kind;
  }

  model(what) {
    return `${this.kind}-${what}`;
  }

  /** The model's name, and the note that it is called so many times. */
  called(what, times) {
    const name = this.model(what);
    this.calls[name] = (this.calls[name] ?? 0) + times;
    return name;
  }

  /** A slow call was dropped now. */
  left() {
    this.left_at_s.push(Number(process.hrtime.bigint()) / 1e9);
  }
}

export function each(name, check, kinds = KINDS) {
  found.push([name, check, kinds]);
}

export function same(got, wanted, what = "") {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what} got ${a}, wanted ${b}`);
}

export function holds(truth, what) {
  if (!truth) throw new Error(`not so: ${what}`);
}

/** The error that the call must raise; `is` says whether it is the right one. */
export async function raises(is, call) {
  let got;
  try {
    got = await call();
  } catch (error) {
    if (!is(error)) throw new Error(`another error: ${error?.constructor?.name} ${error?.stack}`);
    return error;
  }
  throw new Error(`no error, but ${JSON.stringify(got)?.slice(0, 300)}`);
}

export async function main() {
  process.on("unhandledRejection", () => {}); // the AI SDK leaves promises of a stream that was given up
  for (const [check, run, kinds] of found) {
    for (const kind of kinds) {
      const at = new At(kind);
      let fault = null;
      try {
        await run(at);
      } catch (error) {
        fault = String(error?.stack ?? error).split("\n").filter((line) => !line.includes("node_modules")).slice(0, 8).join("\n");
      }
      process.stdout.write(JSON.stringify({ check, kind, fault, calls: at.calls, left_at_s: at.left_at_s }) + "\n");
    }
  }
  process.exit(0);
}
