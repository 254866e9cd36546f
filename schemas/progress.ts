/** What a long job tells its caller while it runs; `bin/` draws it. */
export type ProgressEvent = {
  readonly phase: string;
  /** start: the phase begins; step: some of it is done; end: it is over. */
  readonly kind: "start" | "step" | "end";
  readonly bytesDone?: number;
  readonly bytesTotal?: number;
  readonly objectsDone?: number;
  readonly objectsTotal?: number;
  readonly elapsedMs?: number;
};
export type OnProgress = (event: ProgressEvent) => void;
