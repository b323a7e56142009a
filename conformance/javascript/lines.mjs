// The protocol's side of a program: one line about itself, then one answer for each request (../README.md).
//
// These SDKs keep the token source and the tokens for the whole process, so each request has a process of its own: this program again.

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";

const AT_ONCE = 3;

export class Unsupported extends Error {}

/** Loads a package from the folder of `node_modules` that the command line names first. */
export function load(name) {
  return createRequire(join(process.argv[2], "package.json"))(name);
}

export function versionOf(name) {
  return JSON.parse(readFileSync(join(process.argv[2], "node_modules", name, "package.json"), "utf8")).version;
}

/** Answers every request with what `answer` gives for it: a token, and when it expires in milliseconds. */
export async function serve(name, answer) {
  if (process.argv[3] === "--one") {
    say(await answered(answer, JSON.parse(await text(process.stdin))));
    process.exit(0);
  }
  say({ sdk: name, version: versionOf(name), language: "JavaScript", runtime: `node ${process.version}` });
  const requests = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  await Promise.all(Array.from({ length: AT_ONCE }, () => work(requests)));
}

async function work(requests) {
  for (let next = await requests.next(); !next.done; next = await requests.next()) {
    await ask(next.value);
  }
}

function ask(line) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [process.argv[1], process.argv[2], "--one"], { stdio: ["pipe", "inherit", "inherit"] });
    child.on("close", resolve);
    child.stdin.end(line);
  });
}

async function answered(answer, request) {
  try {
    const { token, expires } = await answer(request);
    if (!token) {
      throw new Error("no error was raised, but there is no token either");
    }
    return { id: request.id, token, expires_on: Number.isFinite(expires) ? Math.floor(expires / 1000) : null };
  } catch (error) {
    if (error instanceof Unsupported) {
      return { id: request.id, unsupported: error.message };
    }
    console.error(`${request.id}:`, error);
    return { id: request.id, error: `${error.name}: ${String(error.message).split("\n")[0]}` };
  }
}

function say(line) {
  process.stdout.write(JSON.stringify(line) + "\n");
}
