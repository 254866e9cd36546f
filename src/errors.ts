/** Exit codes of all commands. Documented in the README; a test compares them. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  /** Loaded, but records were rejected (import); growth above the threshold (diff). */
  attention: 3,
  noInput: 4,
  noServer: 5,
  authentication: 6,
  interrupted: 7,
  ourFault: 70,
} as const;

type Failure = { readonly exit: number; readonly fix: string };

/** Every failure the product can meet: `<stage>/<what>`, its exit code and what the user does next. */
export const failures = {
  "usage/bad-option": { exit: 2, fix: "--help lists the options." },
  "capture/no-process": { exit: 1, fix: "Check the pid with ps; the process may have ended." },
  "capture/not-supported": { exit: 1, fix: "Name a running Ruby or Node process." },
  "capture/no-permission": {
    exit: 1,
    fix: "Run as the user that owns the process (or as root), with ptrace allowed: in a container, --cap-add=SYS_PTRACE.",
  },
  "capture/no-debugger": { exit: 1, fix: "Install gdb, or load our producer in the process." },
  "capture/port-taken": {
    exit: 1,
    fix: "Stop what holds the port, or start the process with --inspect-port=0.",
  },
  "capture/busy": { exit: 1, fix: "Try again: the process was never at a safe point." },
  "capture/failed": { exit: 1, fix: "See the message; the process was left as it was." },
  "capture/no-space": { exit: 1, fix: "Make room on the disk, or name another one with --out." },
  "decode/no-input": { exit: 4, fix: "Name a file that exists and is readable, or - for stdin." },
  "decode/unknown-format": {
    exit: 4,
    fix: "Name the format with --format; --help lists the known ones.",
  },
  "decode/empty": { exit: 4, fix: "Take the dump again: this file holds no record." },
  "decode/corrupt": { exit: 4, fix: "Copy or take the dump again: this file is damaged." },
  "decode/changed": {
    exit: 4,
    fix: "Import it when the dump is written to its end, or a copy of it.",
  },
  "decode/too-many-rejects": {
    exit: 1,
    fix: "Look at the rejects, or raise --max-rejects.",
  },
  "decode/spool": { exit: 1, fix: "Make room in the spool folder, or set TMPDIR to another disk." },
  "graph/too-large": { exit: 1, fix: "Run on a machine with more memory." },
  "load/no-server": {
    exit: 5,
    fix: "Start a server (docker compose up -d), or point --uri at one that runs.",
  },
  "load/authentication": { exit: 6, fix: "Check user, password and authSource in --uri." },
  "load/server-failed": { exit: 1, fix: "See the server's log, then run the same command again." },
  "load/no-mongod": {
    exit: 5,
    fix: "Install mongod, set HEAPDUMP_MONGOD to its path, or name a server with --uri.",
  },
  "load/no-home": {
    exit: 1,
    fix: "Set HEAPDUMP_HOME to a folder of this user's: the server's data and the key of --redact are kept there.",
  },
  "load/exists": {
    exit: 1,
    fix: "Replace it with --drop, or choose another name with -c.",
  },
  "load/changed": {
    exit: 1,
    fix: "Load the changed file with --drop, or under another name with -c.",
  },
  "load/locked": {
    exit: 1,
    fix: "Wait for the other import, or stop it. One that died on another host or in another container is forgotten after a minute.",
  },
  "load/disk-full": { exit: 1, fix: "Make room on the server's disk, then run the same command." },
  "load/conflict": { exit: 1, fix: "Load again with --drop." },
  "load/interrupted": { exit: 7, fix: "Run the same command again: it continues." },
  "query/not-analysed": {
    exit: 1,
    fix: "Import the dump again with --drop and without --no-analysis.",
  },
  "query/no-dump": { exit: 4, fix: "heapdump-query --dumps lists what is loaded." },
  "query/not-found": { exit: 4, fix: "Check the id or name; heapdump-query classes lists them." },
  "query/bad-argument": { exit: 2, fix: "heapdump-query <query> --help shows its arguments." },
  "report/not-written": { exit: 1, fix: "Make room on the disk, or send the output elsewhere." },
  "watch/locked": { exit: 1, fix: "Wait for the other run." },
  "watch/webhook": { exit: 1, fix: "Check the URL; the diff itself is stored." },
  "internal/broken-promise": {
    exit: 70,
    fix: "This is our fault: please report it with the text above.",
  },
} as const satisfies Record<string, Failure>;

export type FailureCode = keyof typeof failures;

/** A place in an input file. */
export type Position = { readonly file: string; readonly lineNumber: number };

/** The only error this product throws on purpose. Callers tell failures apart by `code`, never by message. */
export class HeapdumpError extends Error {
  override readonly name = "HeapdumpError";
  readonly code: FailureCode;
  readonly at: Position | undefined;

  constructor(code: FailureCode, message: string, more: { at?: Position; cause?: unknown } = {}) {
    const place = more.at === undefined ? "" : `${more.at.file}:${more.at.lineNumber}: `;
    super(`${place}${message}`, { cause: more.cause });
    this.code = code;
    this.at = more.at;
  }
}
