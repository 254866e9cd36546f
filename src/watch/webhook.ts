import { setTimeout as sleep } from "node:timers/promises";
import { HeapdumpError } from "../errors.js";

/** What is tried before a webhook counts as failed. */
export type WebhookLimits = {
  readonly attempts: number;
  readonly timeoutMs: number;
  /** Before the second attempt; doubled for each further one. */
  readonly pauseMs: number;
};

const limitsDefault: WebhookLimits = { attempts: 3, timeoutMs: 10_000, pauseMs: 1_000 };

/**
 * Posts a value as JSON. User and password of the URL become a Basic authorization header; neither they nor the
 * query string, where services put their tokens, stand in any message.
 *
 * Tried again when no answer came, on 429 and on 5xx; other answers say that the same request will fail again.
 *
 * @throws {HeapdumpError} `watch/webhook` after the last attempt; `usage/bad-option` on a URL that is none
 */
export async function postWebhook(
  url: string,
  value: unknown,
  signal: AbortSignal,
  limits: WebhookLimits = limitsDefault,
): Promise<void> {
  const target = parseWebhook(url);
  const body = JSON.stringify(value);
  let failure = "";
  for (let attempt = 1; attempt <= limits.attempts; attempt++) {
    if (attempt > 1) await sleep(limits.pauseMs * 2 ** (attempt - 2), undefined, { signal });
    const outcome = await post(target, body, limits.timeoutMs, signal);
    if (outcome.failure === undefined) return;
    failure = outcome.failure;
    if (!outcome.again) break;
  }
  throw new HeapdumpError("watch/webhook", `${target.shown}: ${failure}`);
}

type Target = {
  readonly url: string;
  readonly shown: string;
  readonly headers: Readonly<Record<string, string>>;
};

/** @throws {HeapdumpError} `usage/bad-option`, without the text: it may hold a password */
export function parseWebhook(text: string): Target {
  if (!URL.canParse(text) || !/^https?:/.test(text)) {
    throw new HeapdumpError("usage/bad-option", "--webhook: expected an http or https URL");
  }
  const url = new URL(text);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (url.username !== "" || url.password !== "") {
    const credentials = `${decoded(url.username)}:${decoded(url.password)}`;
    headers.authorization = `Basic ${Buffer.from(credentials).toString("base64")}`;
    url.username = "";
    url.password = "";
  }
  // Paths hold tokens too (Slack, Discord): only the host is shown.
  return { url: url.href, shown: `webhook at ${url.host}`, headers };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new HeapdumpError("usage/bad-option", "--webhook: its user or password has a lone %");
  }
}

async function post(
  target: Target,
  body: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<{ failure?: string; again: boolean }> {
  try {
    const response = await fetch(target.url, {
      method: "POST",
      headers: target.headers,
      body,
      // Followed, it would carry the data, and become a GET, to where nobody sent it.
      redirect: "manual",
      signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
    });
    await response.body?.cancel();
    if (response.ok) return { again: false };
    const again = response.status === 429 || response.status >= 500;
    return { failure: `answered ${response.status}`, again };
  } catch (error) {
    signal.throwIfAborted();
    return { failure: reasonOf(error, timeoutMs), again: true };
  }
}

/** fetch's own messages may quote the URL: only the system's code is passed on. */
function reasonOf(error: unknown, timeoutMs: number): string {
  if (error instanceof Error && error.name === "TimeoutError") {
    return `no answer within ${timeoutMs / 1000} s`;
  }
  const cause = error instanceof Error ? error.cause : undefined;
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  return code === undefined ? "cannot be reached" : `cannot be reached (${code})`;
}
