import { WebSocket } from "ws";
import { HeapdumpError } from "../errors.js";

type Answer = {
  id?: number;
  method?: string;
  params?: Record<string, unknown>;
  result?: unknown;
  error?: { message: string };
};

/** A connection to an inspector: owns the socket. Every wait on it ends with `timeoutMs` of silence. */
export class InspectorClient {
  readonly #socket: WebSocket;
  readonly #timeoutMs: number;
  readonly #waiting = new Map<
    number,
    { done: (result: unknown) => void; failed: (error: Error) => void }
  >();
  readonly #listeners = new Map<string, (parameters: Record<string, unknown>) => void>();
  readonly #watchdog: NodeJS.Timeout;
  #lastId = 0;
  #lastWordMs = performance.now();

  private constructor(socket: WebSocket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.on("message", (bytes: Buffer) => this.#take(bytes.toString("utf8")));
    socket.on("close", () => this.#fail("the process closed the connection"));
    socket.on("error", (error) => this.#fail(error.message));
    this.#watchdog = setInterval(() => {
      if (this.#socket.isPaused || this.#waiting.size === 0) this.#lastWordMs = performance.now();
      if (performance.now() - this.#lastWordMs > this.#timeoutMs)
        this.#fail(`the process was silent for ${this.#timeoutMs} ms`);
    }, 250);
  }

  /** @throws {HeapdumpError} `capture/failed` when nothing answers, or no inspector */
  static async connect(url: string, timeoutMs: number): Promise<InspectorClient> {
    const socket = new WebSocket(url, { perMessageDeflate: false, handshakeTimeout: timeoutMs });
    await new Promise<void>((done, failed) => {
      socket.once("open", done);
      socket.once("error", failed);
    }).catch((error: unknown) => {
      throw new HeapdumpError("capture/failed", `no inspector answers at ${url}`, { cause: error });
    });
    return new InspectorClient(socket, timeoutMs);
  }

  /** @throws {HeapdumpError} `capture/failed` when the inspector refuses, is silent, or goes away */
  call(method: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#lastId;
    return new Promise((done, failed) => {
      if (this.#socket.readyState !== WebSocket.OPEN) {
        failed(new HeapdumpError("capture/failed", "the process closed the connection"));
        return;
      }
      if (this.#waiting.size === 0) this.#lastWordMs = performance.now();
      this.#waiting.set(id, { done, failed });
      this.#socket.send(JSON.stringify({ id, method, params: parameters }));
    });
  }

  /** The value of an expression in the process's main context; `require` is at hand there. */
  async evaluate(expression: string): Promise<unknown> {
    const answer = (await this.call("Runtime.evaluate", {
      expression,
      returnByValue: true,
      includeCommandLineAPI: true,
      silent: true,
    })) as { result?: { value?: unknown }; exceptionDetails?: { text: string } };
    if (answer.exceptionDetails !== undefined) {
      throw new HeapdumpError(
        "capture/failed",
        `the process threw: ${answer.exceptionDetails.text}`,
      );
    }
    return answer.result?.value;
  }

  on(method: string, listener: (parameters: Record<string, unknown>) => void): void {
    this.#listeners.set(method, listener);
  }

  /** Stops reading: what the process sends meanwhile waits on its side. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Ends the connection; what is still awaited fails with `reason`. */
  close(reason = "closed"): void {
    this.#fail(reason);
  }

  #take(text: string): void {
    this.#lastWordMs = performance.now();
    const answer = JSON.parse(text) as Answer;
    if (answer.method !== undefined) this.#listeners.get(answer.method)?.(answer.params ?? {});
    if (answer.id === undefined) return;
    const waiting = this.#waiting.get(answer.id);
    this.#waiting.delete(answer.id);
    if (answer.error === undefined) waiting?.done(answer.result);
    else waiting?.failed(new HeapdumpError("capture/failed", answer.error.message));
  }

  #fail(reason: string): void {
    clearInterval(this.#watchdog);
    this.#socket.terminate();
    for (const { failed } of this.#waiting.values())
      failed(new HeapdumpError("capture/failed", reason));
    this.#waiting.clear();
  }
}
