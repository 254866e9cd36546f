import { SingleBar } from "cli-progress";
import type { OnProgress, ProgressEvent } from "../../schemas/progress.js";

/** Draws progress somewhere. `stop` clears what is drawn. */
export type ProgressView = { readonly onProgress: OnProgress; stop(): void };

/** A bar is drawn anew this often. Unit: frames a second. */
const framesPerSecond = 8;

/**
 * A bar with bytes, objects, rate and time left for each phase on a terminal; one line a phase elsewhere.
 *
 * @param isTerminal - whether the stream is one
 */
export function progressView(stream: NodeJS.WriteStream, isTerminal: boolean): ProgressView {
  return isTerminal ? barView(stream) : lineView(stream);
}

function lineView(stream: NodeJS.WriteStream): ProgressView {
  return {
    onProgress: (event) => {
      if (event.kind === "end")
        stream.write(`${event.phase}: ${secondsOf(event.elapsedMs ?? 0)}\n`);
    },
    stop: () => undefined,
  };
}

function barView(stream: NodeJS.WriteStream): ProgressView {
  let bar: SingleBar | undefined;
  let startedAt = 0;
  /** Of the phase, as far as it was told. */
  let done: ProgressEvent | undefined;
  const stop = (): void => {
    bar?.stop();
    bar = undefined;
  };
  return {
    stop,
    onProgress: (event) => {
      if (event.kind === "start") {
        stop();
        startedAt = Date.now();
        done = undefined;
        bar = new SingleBar({
          stream,
          fps: framesPerSecond,
          clearOnComplete: true,
          hideCursor: true,
          format: `${event.phase.padEnd(8)} {bar} {percentage}% {detail}`,
        });
        bar.start(1, 0, { detail: "" });
      } else if (event.kind === "end") {
        stop();
        const elapsedMs = event.elapsedMs ?? 0;
        const whole = rateOf({ ...done, ...event }, elapsedMs);
        const words = [secondsOf(elapsedMs), ...(whole.length === 0 ? [] : [whole.join(", ")])];
        stream.write(`${event.phase.padEnd(8)} ${words.join("  ")}\n`);
      } else {
        done = event;
        bar?.update(shareOf(event), { detail: detailOf(event, Date.now() - startedAt) });
      }
    },
  };
}

function shareOf(event: ProgressEvent): number {
  if (event.bytesDone !== undefined && event.bytesTotal !== undefined) {
    return Math.min(1, event.bytesDone / Math.max(1, event.bytesTotal));
  }
  return Math.min(1, (event.objectsDone ?? 0) / Math.max(1, event.objectsTotal ?? 1));
}

function detailOf(event: ProgressEvent, elapsedMs: number): string {
  const parts = rateOf(event, elapsedMs);
  const seconds = elapsedMs / 1000;
  const share = shareOf(event);
  if (share > 0.02) parts.push(`${((seconds / share) * (1 - share)).toFixed(0)} s left`);
  return parts.join(", ");
}

/** Bytes and objects, and how many a second. */
function rateOf(event: ProgressEvent, elapsedMs: number): string[] {
  const parts: string[] = [];
  const seconds = Math.max(0.001, elapsedMs / 1000);
  if (event.bytesDone !== undefined) {
    const megabytes = event.bytesDone / 1e6;
    parts.push(`${megabytes.toFixed(0)} MB`, `${(megabytes / seconds).toFixed(0)} MB/s`);
  }
  if (event.objectsDone !== undefined) {
    parts.push(`${event.objectsDone.toLocaleString("en")} objects`);
    parts.push(`${Math.round(event.objectsDone / seconds).toLocaleString("en")}/s`);
  }
  return parts;
}

function secondsOf(elapsedMs: number): string {
  return `${(elapsedMs / 1000).toFixed(2)} s`;
}
