import { Socket } from "node:net";
import { HeapdumpInspector } from "./inspector-session.js";

/** How often it is looked whether the application has anything left to do. Unit: ms. */
const lookMs = 250;
/** So often nothing must be left, one look after the other. Doubled each time that it was wrong. */
const idleLooksFirst = 2;

/**
 * From now on V8 notes which function makes an object, so that dumps tell its file and the line where it begins.
 *
 * Costs much: making an object takes several times as long, and V8 collects all garbage and walks the heap 20 times a
 * second, or as often as it can (bench/producer-pause.ts). That cannot be switched off in Node.
 *
 * V8's timer for that would keep the process alive for ever. So tracking ends when nothing else does (what addons and
 * thread-pool jobs do is unseen for half a second): `beforeExit` comes as usual, but a dump made there knows no sites.
 */
export function trackAllocations(): void {
  if (isOn) return;
  isOn = true;
  let session = start();
  let idleLooks = 0;
  let idleLooksMax = idleLooksFirst;
  const timer = setInterval(() => {
    if (session === undefined) {
      // Ended in error: something unseen keeps the process alive.
      idleLooksMax *= 2;
      idleLooks = 0;
      session = start();
    } else if (resourcesInUse() > 0) idleLooks = 0;
    else if (++idleLooks >= idleLooksMax) {
      session.disconnect();
      session = undefined;
    }
  }, lookMs);
  timer.unref();
}

let isOn = false;

function start(): HeapdumpInspector | undefined {
  const session = new HeapdumpInspector();
  session.connect();
  session.post("HeapProfiler.startTrackingHeapObjects", { trackAllocations: true });
  return session;
}

/** What keeps the process alive, but piped standard streams: Node lists them also where nobody waits for one. */
function resourcesInUse(): number {
  const { _getActiveHandles: handles } = process as unknown as {
    readonly _getActiveHandles?: () => readonly unknown[];
  };
  const idle = (handles?.() ?? []).filter((handle) => {
    if (!(handle instanceof Socket)) return false;
    const { fd } = handle as { readonly fd?: number };
    return fd === 1 || fd === 2 || (fd === 0 && handle.readableFlowing !== true);
  });
  return process.getActiveResourcesInfo().length - idle.length;
}
