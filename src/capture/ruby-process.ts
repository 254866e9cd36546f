import { readFile } from "node:fs/promises";
import { HeapdumpError } from "../errors.js";
import { elfSymbols, type ElfSymbols } from "./elf-symbols.js";
import { readProc } from "./process-info.js";

/** Where the functions of a running Ruby are: addresses in that process. */
export type RubyProcess = {
  readonly pid: number;
  /** Undefined where this Ruby does not say. */
  readonly rubyVersion: string | undefined;
  /** How this Ruby takes a job; undefined: not at all. */
  readonly postponedJob: PostponedJob | undefined;
  readonly evalAddress: bigint;
  /** A `syscall` instruction. */
  readonly syscallAddress: bigint | undefined;
  /** Code of the C library, the loader and other allocators: a thread is not to be interrupted there. */
  readonly unsafeRanges: readonly { start: bigint; end: bigint }[];
};

/** Ruby's door for signal handlers. */
export type PostponedJob =
  /** Up to 3.2: one call. */
  | {
      readonly registerAddress: bigint;
      /** Before 3.0: a variable and a function by which the job is made the main thread's. */
      readonly currentContextAddress: bigint | undefined;
      readonly mainThreadAddress: bigint | undefined;
    }
  /** From 3.3 on: the job gets a number first. */
  | { readonly preregisterAddress: bigint; readonly triggerAddress: bigint };

type Mapping = {
  readonly start: bigint;
  readonly end: bigint;
  readonly isCode: boolean;
  readonly fileOffset: bigint;
  readonly file: string;
};

const registerName = "rb_postponed_job_register_one";
const preregisterName = "rb_postponed_job_preregister";
const triggerName = "rb_postponed_job_trigger";
const currentContextName = "ruby_current_execution_context_ptr";
const mainThreadName = "rb_thread_main";
const evalName = "rb_eval_string";
const versionName = "ruby_version";
const wantedNames: ReadonlySet<string> = new Set([
  ...[registerName, preregisterName, triggerName],
  ...[currentContextName, mainThreadName, evalName, versionName],
]);
const allocators = /\/(libc[.-]|ld-|ld\.|libjemalloc|libtcmalloc|libmimalloc)/;
const systemLibrary = /\/(libc[.-]|ld-musl)/;

/**
 * Finds CRuby in a process by what its files export, without stopping it.
 *
 * @returns undefined where no CRuby is loaded (JRuby, TruffleRuby)
 * @throws {HeapdumpError} `capture/no-process`, `capture/no-permission`
 */
export async function rubyProcess(pid: number): Promise<RubyProcess | undefined> {
  const mappings = await mappingsOf(pid);
  const files = [...new Set(mappings.map((mapping) => mapping.file))];
  // libruby where there is one: the executable is then a small front to it.
  files.sort((a, b) => Number(/libruby/.test(b)) - Number(/libruby/.test(a)));
  for (const file of files.filter((name) => /ruby/.test(name) || name === files[0])) {
    const symbols = await symbolsOf(pid, file, mappings);
    const evalAddress = symbols?.addressOf.get(evalName);
    if (symbols === undefined || evalAddress === undefined) continue;
    const shift = shiftOf(symbols, file, mappings);
    const address = (name: string): bigint | undefined => {
      const at = symbols.addressOf.get(name);
      return at === undefined ? undefined : at + shift;
    };
    return {
      pid,
      rubyVersion: versionText(symbols),
      postponedJob: postponedJobOf(address),
      evalAddress: evalAddress + shift,
      syscallAddress: await syscallInstruction(pid, mappings),
      unsafeRanges: mappings.filter(({ isCode, file }) => isCode && allocators.test(file)),
    };
  }
  return undefined;
}

/** The newer functions where there are both: the older one is deprecated there. */
function postponedJobOf(address: (name: string) => bigint | undefined): PostponedJob | undefined {
  const [preregisterAddress, triggerAddress] = [address(preregisterName), address(triggerName)];
  if (preregisterAddress !== undefined && triggerAddress !== undefined) {
    return { preregisterAddress, triggerAddress };
  }
  const registerAddress = address(registerName);
  if (registerAddress === undefined) return undefined;
  return {
    registerAddress,
    currentContextAddress: address(currentContextName),
    mainThreadAddress: address(mainThreadName),
  };
}

async function mappingsOf(pid: number): Promise<Mapping[]> {
  const text = await readProc(pid, "maps");
  return text.split("\n").flatMap((line) => {
    const parts = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+\s+(\/.*)$/.exec(line);
    if (parts === null) return [];
    const [, start, end, rights, offset, file] = parts;
    return [
      {
        start: BigInt(`0x${start}`),
        end: BigInt(`0x${end}`),
        isCode: rights?.includes("x") ?? false,
        fileOffset: BigInt(`0x${offset}`),
        file: file ?? "",
      },
    ];
  });
}

/**
 * As seen by the process itself: it may live in a container. A file replaced meanwhile, or one that the kernel names by
 * a path of ours (a process in a chroot), is read from memory's side.
 */
async function symbolsOf(
  pid: number,
  file: string,
  mappings: readonly Mapping[],
): Promise<ElfSymbols | undefined> {
  const mapping = mappings.find((candidate) => candidate.file === file);
  const paths = file.endsWith(" (deleted)") ? [] : [`/proc/${pid}/root${file}`];
  if (mapping !== undefined) {
    const range = `${mapping.start.toString(16)}-${mapping.end.toString(16)}`;
    paths.push(`/proc/${pid}/map_files/${range}`);
  }
  for (const path of paths) {
    try {
      return elfSymbols(await readFile(path), wantedNames);
    } catch (error) {
      if (isMissing(error)) continue;
      throw new HeapdumpError("capture/no-permission", `may not read ${path}`, { cause: error });
    }
  }
  return undefined;
}

function shiftOf(symbols: ElfSymbols, file: string, mappings: readonly Mapping[]): bigint {
  if (symbols.base < 0n) return 0n;
  const first = mappings.find((mapping) => mapping.file === file && mapping.fileOffset === 0n);
  return (first?.start ?? 0n) - symbols.base;
}

function versionText(symbols: ElfSymbols): string | undefined {
  const address = symbols.addressOf.get(versionName);
  if (address === undefined) return undefined;
  // Read-only data is mapped one to one from the file in every layout that linkers make for it.
  const at = Number(address);
  const text = symbols.bytes.toString("latin1", at, at + 16).split("\0")[0] ?? "";
  return /^\d+\.\d+\.\d+/.test(text) ? text : undefined;
}

async function syscallInstruction(
  pid: number,
  mappings: readonly Mapping[],
): Promise<bigint | undefined> {
  const file = mappings.find((mapping) => systemLibrary.test(mapping.file))?.file;
  if (file === undefined) return undefined;
  const symbols = await symbolsOf(pid, file, mappings);
  for (const { offset, bytes, address } of symbols?.code ?? []) {
    const at = symbols?.bytes.subarray(offset, offset + bytes).indexOf(Buffer.from([0x0f, 0x05]));
    if (symbols === undefined || at === undefined || at < 0) continue;
    return address + BigInt(at) + shiftOf(symbols, file, mappings);
  }
  return undefined;
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ESRCH";
}
