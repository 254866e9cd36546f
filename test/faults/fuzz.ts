import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { fileURLToPath } from "node:url";
import { decompress } from "fzstd";
import { gemFormat } from "../../src/decode/format-gem.js";
import { objspaceFormat, ownFormat } from "../../src/decode/format-objspace.js";
import type { LineFormat } from "../../src/decode/line-format.js";
import { decodeDump, type DecodedDump, type DecodeOptions } from "../support/decode-both.js";
import { mutatedDump, randomOf } from "../support/mutate-lines.js";
import { repositoryPath } from "../support/run.js";

/** Real lines of one format. */
export type Corpus = { readonly format: LineFormat; readonly lines: readonly string[] };

export type FuzzFigures = {
  records: number;
  dumps: number;
  accepted: number;
  refused: number;
  repaired: number;
  /** Dumps that were refused as a whole, by both paths with the same words: two dumps glued together. */
  glued: number;
};

/** A dump of which the two paths make different things. */
export type Divergence = { readonly what: string; readonly dump: Buffer; readonly seed: number };

/** Longer lines are rare, and a million of them takes hours. */
const lineBytesMax = 3_000;
const linesPerDump = 100;

/** The lines to mutate: three real gem dumps, one of this machine's Ruby where it has one, one of ours. */
export function fuzzCorpora(): Corpus[] {
  const gemLines = ["A", "B", "C"].flatMap((letter) => {
    const packed = readFileSync(repositoryPath(`test/fixtures/gem-ruby200-${letter}.json.zst`));
    return linesOf(Buffer.from(decompress(packed)));
  });
  return [
    { format: gemFormat, lines: gemLines },
    { format: objspaceFormat, lines: [...objspaceLines, ...rubyLines()] },
    { format: ownFormat, lines: [...ownLines, ...objspaceLines] },
  ];
}

/** Decodes mutated dumps by both paths until `records` are done, or they differ. */
export async function fuzz(
  corpora: readonly Corpus[],
  options: { records: number; seed: number; onStep?: (figures: FuzzFigures) => void },
): Promise<{ figures: FuzzFigures; divergence: Divergence | undefined }> {
  const figures = { records: 0, dumps: 0, accepted: 0, refused: 0, repaired: 0, glued: 0 };
  for (let seed = options.seed; figures.records < options.records; seed++) {
    const random = randomOf(seed);
    const { format, lines } = corpora[seed % corpora.length] as Corpus;
    // Long ones now and then: what the scan remembers of earlier records must not mislead it.
    const lineCount = seed % 50 === 0 ? 20 * linesPerDump : linesPerDump;
    const dump = mutatedDump(lines, lineCount, random);
    // Every size from 1 byte on is drawn; small ones are where the boundaries are.
    const chunkBytes = 1 + Math.floor(random() ** 3 * 4096);
    const blockBytes = 1 + Math.floor(random() ** 2 * 100_000);
    const plain = await outcomeOf(format, dump, { plain: true });
    // As a stream or as a file; a thread takes long to start and is tried on few.
    const asFile = random() < 0.5;
    const threads = seed % 100 === 0 ? 1 : 0;
    const fast = await outcomeOf(format, dump, { chunkBytes, blockBytes, asFile, threads });
    const what = differenceOf(plain, fast);
    if (what !== undefined) {
      const way = `${asFile ? "file" : "stream"}, ${threads} threads`;
      const cut = `${what} (${format.name}, ${way}, chunks of ${chunkBytes}, blocks of ${blockBytes})`;
      return { figures, divergence: { what: cut, dump, seed } };
    }
    figures.dumps++;
    figures.records += lineCount;
    if (typeof plain === "string") figures.glued++;
    else {
      figures.accepted += plain.ledger.objects;
      figures.refused += plain.ledger.rejected;
      figures.repaired += plain.ledger.repaired;
    }
    if (figures.dumps % 500 === 0) options.onStep?.(figures);
  }
  return { figures, divergence: undefined };
}

/** What a dump decodes to, or the words it is refused with. */
async function outcomeOf(
  format: LineFormat,
  dump: Buffer,
  options: DecodeOptions,
): Promise<DecodedDump | string> {
  try {
    return await decodeDump(format, dump, options);
  } catch (error) {
    return String(error);
  }
}

function differenceOf(plain: DecodedDump | string, fast: DecodedDump | string): string | undefined {
  if (typeof plain === "string" || typeof fast === "string") {
    // Only a second dump in the file may end a scan.
    if (plain === fast && /glued together/.test(String(plain))) return undefined;
    return `plain: ${outcomeText(plain)}; fast: ${outcomeText(fast)}`;
  }
  if (!isDeepStrictEqual(plain.ledger, fast.ledger)) {
    return `counts: ${JSON.stringify(plain.ledger)}, ${JSON.stringify(fast.ledger)}`;
  }
  const { lines, objects, rejected, blank } = plain.ledger;
  if (lines !== objects + rejected + blank) return "the ledger does not add up";
  if (!isDeepStrictEqual(plain.rejects, fast.rejects)) return "rejects";
  if (!isDeepStrictEqual(plain.scanned, fast.scanned)) return "what the graph is told";
  if (plain.documents.length !== fast.documents.length) return "number of documents";
  const differing = plain.documents.findIndex(
    (document, index) => !document.equals(fast.documents[index] as Buffer),
  );
  return differing < 0 ? undefined : `document ${differing}`;
}

const outcomeText = (outcome: DecodedDump | string): string =>
  typeof outcome === "string" ? outcome : JSON.stringify(outcome.ledger);

function linesOf(dump: Buffer): string[] {
  const all = dump.toString("latin1").split("\n");
  return all.filter((line) => line.length > 0 && line.length < lineBytesMax);
}

/** A real dump of this machine's Ruby, traced; none where there is no Ruby. */
function rubyLines(): string[] {
  const folder = mkdtempSync(join(tmpdir(), "heapdump-fuzz-"));
  try {
    const path = join(folder, "dump.json");
    const program =
      'require "objspace"; ObjectSpace.trace_object_allocations_start; A = Array.new(99) { |n| [n.to_s * n, {n => "é"}] }; ObjectSpace.dump_all(output: File.open(ARGV[0], "w"))';
    execFileSync("ruby", ["-e", program, path], { stdio: "ignore" });
    return linesOf(readFileSync(path));
  } catch {
    return [];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const objspaceLines = [
  '{"address":"0x7f3d10504048", "type":"STRING", "class":"0x7f3d104ae440", "embedded":true, "bytesize":19, "value":"/usr/share/doc/ruby", "memsize":40, "flags":{"wb_protected":true, "old":true}}',
  '{"address":"0x7f3d10504160", "type":"OBJECT", "class":"0x7f3d104e9ef0", "ivars":3, "references":["0x7f3d0cfa7fd0", "0x7f3d10504048"], "memsize":40, "file":"a.rb", "line":12, "method":"new", "generation":5, "flags":{"wb_protected":true}}',
  '{"address":"0x7f3d10504250", "type":"CLASS", "class":"0x7f3d104aa700", "superclass":"0x7f3d104aa6b0", "real_class_name":"Class", "singleton":true, "references":["0x7f3d104aa6b0", "0x7f3d10504250"], "memsize":688, "flags":{}}',
  '{"address":"0x7f3d105041b0", "type":"IMEMO", "class":"0x8", "imemo_type":"cref", "references":["0x7f3d105042a0"], "memsize":40}',
  '{"type":"ROOT", "root":"vm", "references":["0x7f3d10504160", "0x7f3d10504048", "0x7f3d10504160"]}',
  '{"type":"ROOT", "root":"global_tbl", "references":[]}',
  '{"address":"0x7f3d104aa700", "type":"MODULE", "name":"Kernel", "references":[], "memsize":632}',
];

const ownLines = [
  '{"address":"0x51","type":"object","class_name":"Session","references":["0x7f3d10504160","0x51","0x53"],"reference_names":["a","b","é"],"reference_kinds":"pwe","memsize":40,"depth":7,"name":"S"}',
  '{"address":"0x53","type":"closure","class_name":"(closure)","references":["0x51"],"reference_names":["context"],"reference_kinds":"c","memsize":64}',
  '{"type":"ROOT","root":"(GC roots)","references":["0x51"],"reference_names":["x"]}',
];

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { records: { type: "string" }, seed: { type: "string" } },
  });
  const records = Number(values.records ?? 1_000_000);
  const seed = Number(values.seed ?? 1);
  const started = performance.now();
  const { figures, divergence } = await fuzz(fuzzCorpora(), {
    records,
    seed,
    onStep: (step) => process.stderr.write(`${step.records} records …\r`),
  });
  const seconds = Math.round((performance.now() - started) / 1000);
  process.stdout.write(`${JSON.stringify({ seed, ...figures, seconds })}\n`);
  if (divergence === undefined) return;
  const path = join(tmpdir(), `heapdump-fuzz-${divergence.seed}.json`);
  writeFileSync(path, divergence.dump, { mode: 0o600 });
  process.stdout.write(
    `the paths differ: ${divergence.what}; --seed ${divergence.seed} repeats it; the dump: ${path}\n`,
  );
  process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
