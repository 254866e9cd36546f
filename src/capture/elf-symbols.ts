const sectionTypeDynamicSymbols = 11; // SHT_DYNSYM
const segmentTypeLoad = 1; // PT_LOAD
const flagExecutable = 1; // PF_X
const sharedObjectType = 3; // ET_DYN
const symbolBytes = 24;
const pageBytes = 4096n;

/** What is needed of a 64-bit ELF file to find its exported functions in a process that has it loaded. */
export type ElfSymbols = {
  /** Address of each defined dynamic symbol, as the file says. */
  readonly addressOf: ReadonlyMap<string, bigint>;
  /** Add `start of the file's first mapping - base` to an address. */
  readonly base: bigint;
  /** Where the code stands in the file. */
  readonly code: readonly { offset: number; bytes: number; address: bigint }[];
  readonly bytes: Buffer;
};

/**
 * Reads the dynamic symbols of a little-endian 64-bit ELF file.
 *
 * From the file, not by the debugger: so that the process stands still only for milliseconds, and a process that is
 * no Ruby is never stopped at all.
 *
 * @returns undefined where it is no such file
 */
export function elfSymbols(bytes: Buffer, names: ReadonlySet<string>): ElfSymbols | undefined {
  if (bytes.length < 64 || bytes.readUInt32BE(0) !== 0x7f454c46) return undefined;
  if (bytes[4] !== 2 || bytes[5] !== 1) return undefined; // 64 bits, little-endian.
  try {
    const segments = loadSegments(bytes);
    const first = segments[0];
    if (first === undefined) return undefined;
    const isShared = bytes.readUInt16LE(16) === sharedObjectType;
    return {
      addressOf: dynamicSymbols(bytes, names),
      // A fixed-address executable is loaded where it says.
      base: isShared ? first.address - (first.address % pageBytes) : -1n,
      code: segments.filter((segment) => segment.isCode),
      bytes,
    };
  } catch (error) {
    if (error instanceof RangeError) return undefined; // A cut file.
    throw error;
  }
}

function loadSegments(bytes: Buffer) {
  const table = Number(bytes.readBigUInt64LE(32));
  const entryBytes = bytes.readUInt16LE(54);
  const entryCount = bytes.readUInt16LE(56);
  const segments = [];
  for (let index = 0; index < entryCount; index++) {
    const at = table + index * entryBytes;
    if (bytes.readUInt32LE(at) !== segmentTypeLoad) continue;
    segments.push({
      isCode: (bytes.readUInt32LE(at + 4) & flagExecutable) !== 0,
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      address: bytes.readBigUInt64LE(at + 16),
      bytes: Number(bytes.readBigUInt64LE(at + 32)),
    });
  }
  return segments;
}

function dynamicSymbols(bytes: Buffer, names: ReadonlySet<string>): Map<string, bigint> {
  const addressOf = new Map<string, bigint>();
  const table = Number(bytes.readBigUInt64LE(40));
  const entryBytes = bytes.readUInt16LE(58);
  const entryCount = bytes.readUInt16LE(60);
  const sectionAt = (index: number): number => table + index * entryBytes;
  for (let index = 0; index < entryCount; index++) {
    const section = sectionAt(index);
    if (bytes.readUInt32LE(section + 4) !== sectionTypeDynamicSymbols) continue;
    const symbolsAt = Number(bytes.readBigUInt64LE(section + 24));
    const symbolsEnd = symbolsAt + Number(bytes.readBigUInt64LE(section + 32));
    const namesAt = Number(bytes.readBigUInt64LE(sectionAt(bytes.readUInt32LE(section + 40)) + 24));
    for (let at = symbolsAt; at < symbolsEnd; at += symbolBytes) {
      if (bytes.readUInt16LE(at + 6) === 0) continue; // Used here, defined elsewhere.
      const nameAt = namesAt + bytes.readUInt32LE(at);
      const name = bytes.toString("latin1", nameAt, bytes.indexOf(0, nameAt));
      if (names.has(name)) addressOf.set(name, bytes.readBigUInt64LE(at + 8));
    }
  }
  return addressOf;
}
