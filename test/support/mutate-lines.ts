/** Numbers from a seed, the same on every machine (mulberry32). Each is in [0, 1). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** What a mutation may put into a line: tokens of JSON and of the formats, odd numbers, odd text. As latin1. */
const inserts = [
  ...['"', "\\", ",", "{", "}", "[", "]", ":", " ", "\t", "\r", "\n", "\0", "0", "-", ".", "e"],
  ...[
    "\\u0041",
    "\\ud800",
    "\\udc00\\ud800",
    "\\u0000",
    "\xc3\xa9",
    "\xe2\x82",
    "\xed\xa0\x80",
    "\xff",
  ],
  ...["null", "true", "NaN", "1e400", "-0", "1.0", "9007199254740993", "9223372036854775808"],
  ...["18446744073709551616", "-9223372036854775809", "12345678901234567890123", "__id_", "0x0"],
  ...[
    '"id":5,',
    '"type":"X",',
    '"address":"0x51",',
    '"references":[],',
    '"__proto__":1,',
    '"$a.b":2,',
  ],
  ...[
    '"val":[1,',
    '"references":["0x7f3d10504160"],',
    '"memsize":-1,',
    '"bt":"T_NONE",',
    '"class":8,',
  ],
  ...['"reference_names":["a"],', '"reference_kinds":"w",', '"type":"HEADER",', "\xef\xbb\xbf"],
];

/**
 * A dump of `count` lines drawn from real ones, most of them mutated: bytes flipped, cut, put in, spliced, doubled,
 * keys reordered, lines joined and in another order.
 */
export function mutatedDump(lines: readonly string[], count: number, random: () => number): Buffer {
  const below = (bound: number): number => Math.floor(random() * bound);
  const draw = <T>(list: readonly T[]): T => list[below(list.length)] as T;

  function mutation(line: string): string {
    const at = below(line.length + 1);
    switch (below(9)) {
      case 0:
        return line.slice(0, at) + String.fromCharCode(below(256)) + line.slice(at + 1);
      case 1: {
        const bit = (line.charCodeAt(at) || 0x20) ^ (1 << below(8));
        return line.slice(0, at) + String.fromCharCode(bit) + line.slice(at + 1);
      }
      case 2:
        return line.slice(0, at);
      case 3:
        return line.slice(at);
      case 4:
        return line.slice(0, at) + draw(inserts) + line.slice(at);
      case 5: {
        const other = draw(lines);
        return line.slice(0, at) + other.slice(below(other.length + 1));
      }
      case 6: {
        const to = Math.min(line.length, at + below(40));
        return line.slice(0, to) + line.slice(at);
      }
      case 7:
        return line.slice(0, at) + line.slice(at + below(20));
      default:
        // Fields in another order, as far as commas tell.
        return reordered(line, random);
    }
  }

  const made: string[] = [];
  for (let index = 0; index < count; index++) {
    let line = draw(lines);
    const rounds = below(3);
    for (let round = 0; round < rounds; round++) line = mutation(line);
    made.push(line);
  }
  const feed = random() < 0.1 ? "\r\n" : "\n";
  return Buffer.from(made.join(feed) + (random() < 0.5 ? feed : ""), "latin1");
}

function reordered(line: string, random: () => number): string {
  const match = /^([[,]?\{)(.*)(\}[,\]]?)$/s.exec(line);
  if (match === null) return line;
  const fields = (match[2] as string).split(/, ?(?=")/);
  for (let last = fields.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [fields[last], fields[other]] = [fields[other] as string, fields[last] as string];
  }
  return `${match[1]}${fields.join(",")}${match[3]}`;
}
