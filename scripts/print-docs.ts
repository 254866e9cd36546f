import { readFileSync, writeFileSync } from "node:fs";
import { failures, type FailureCode } from "../src/errors.js";
import { asksSeveralTimes, type Query } from "../src/query/define-query.js";
import { queries } from "../src/query/queries.js";
import { shellNameOf } from "../src/query/query.js";
import { oneLiners } from "./one-liners.js";

const titleOnly =
  "Printed from the lists in the code by `npm run docs`; a test fails when it is stale.";

/** docs/errors.md: every failure, its exit code and its remedy. */
export function errorsText(): string {
  const rows = Object.entries(failures)
    .sort(([one], [two]) => (one < two ? -1 : 1))
    .map(
      ([code, { exit, fix }]) =>
        `| \`${code}\` | ${exit} | ${cell(causes[code as FailureCode])} | ${cell(fix)} |`,
    );
  return `# Errors

${titleOnly} The commands print \`error [code] message\`, then \`fix: …\`; the library throws \`HeapdumpError\` with \`code\`.

| code | exit code | cause | remedy |
| --- | ---: | --- | --- |
${rows.join("\n")}
`;
}

/** The message says what it was this time; this is what the code means each time. */
const causes: Readonly<Record<FailureCode, string>> = {
  "usage/bad-option": "an option is unknown, lacks its value, or has one that is not understood",
  "capture/no-process": "no process has this pid",
  "capture/not-supported": "the process is no Ruby or Node that can be asked",
  "capture/no-permission": "the system does not let this user look into the process",
  "capture/no-debugger": "gdb is not installed",
  "capture/port-taken": "the inspector's port belongs to another process",
  "capture/busy": "the process did not come to a safe point in time",
  "capture/failed": "the process could not write its dump",
  "capture/no-space": "the disk has no room for the dump",
  "decode/no-input": "the file is not there or cannot be read",
  "decode/unknown-format": "no known dump begins like this",
  "decode/empty": "the input holds no record",
  "decode/corrupt": "the compressed or binary data is damaged",
  "decode/changed": "the file was written to, cut or replaced while it was imported",
  "decode/too-many-rejects": "more records were refused than --max-rejects allows",
  "decode/spool": "standard input could not be kept on disk for the second reading",
  "graph/too-large": "the heap's graph does not fit the memory or its arrays",
  "load/no-server": "no server answers, or it was lost",
  "load/authentication": "the server refuses the user, the password, or what the user wants to do",
  "load/server-failed": "the server failed in the middle of the work",
  "load/no-mongod": "no server was named or found, and no mongod could be obtained",
  "load/no-home": "there is no folder for what is kept for the user",
  "load/exists": "another dump has this name",
  "load/changed": "the file is not the one that the interrupted import had begun",
  "load/locked": "another import loads this dump",
  "load/disk-full": "the server's disk is full",
  "load/conflict": "the collection holds other documents than this dump's",
  "load/interrupted": "stopped by a signal",
  "query/no-dump": "no dump of that name is loaded, or none at all",
  "query/not-analysed": "the dump was imported with `--no-analysis`",
  "query/not-found": "the dump has no such object",
  "query/bad-argument": "the query does not take this argument",
  "report/not-written": "standard output does not take the answer",
  "watch/locked": "another run compares this series",
  "watch/webhook": "the webhook did not take the result",
  "internal/broken-promise": "a fault of ours",
};

/** docs/queries.md, with answers as `answerOf` gives them for the queries on the fixture gem-ruby200-C. */
export function queriesText(examples: Readonly<Record<string, string>>): string {
  const sections = queries.map((query) => sectionOf(query, examples[query.name] ?? ""));
  const lines = oneLiners.map(({ asks, line }) => `| ${asks} | \`${cell(line)}\` |`);
  return `# Queries

${titleOnly} \`heapdump-query QUERY … --db NAME\`; in mongosh the same, by one script:

\`\`\`text
mongosh "$MONGODB_URI/leaks" --shell --file "$(heapdump-query --mongosh)"
leaks> heap.suspects()
\`\`\`

Every query takes \`--dump\`, \`--limit\`, \`--sort\`, \`--json\`, \`--csv\` and \`--pipeline\`; in the shell \`{ dump, db, limit, sort }\` as the last argument.
The examples are of test/fixtures/gem-ruby200-C.json.zst, a process that leaked 600 requests.

${sections.join("\n")}
## One-liners for a bare mongosh

For a dump that was loaded as \`app\`. Each is run by a test.

| asks | line |
| --- | --- |
${lines.join("\n")}
`;
}

function sectionOf(query: Query, example: string): string {
  const { argument, shell } = argumentsOf[query.takes];
  const columns = query.columns.map(
    ({ key, title, unit }) => `| \`${key}\` | ${title} | ${unit} |`,
  );
  return `## ${query.name}

${query.question}

\`heapdump-query ${`${query.name} ${argument}`.trim()}\` · \`heap.${shellNameOf(query.name)}(${shell})\`${asksSeveralTimes(query) ? " · asks several times" : ""}${query.scans ? " · may read the whole collection" : ""}${query.worksUnanalysed === true ? " · also of dumps imported with \`--no-analysis\`" : ""}

| column | heading | unit |
| --- | --- | --- |
${columns.join("\n")}
${example === "" ? "" : `\n\`\`\`text\n${example.trimEnd()}\n\`\`\`\n`}`;
}

const argumentsOf: Readonly<Record<Query["takes"], { argument: string; shell: string }>> = {
  nothing: { argument: "", shell: "" },
  id: { argument: "ID", shell: "0x…" },
  "id-or-nothing": { argument: "[ID]", shell: "[0x…]" },
  names: { argument: "[NAME…]", shell: '"Name", …' },
  objects: {
    argument: "--class X | --type T | --site FILE:LINE | --where JSON",
    shell: '"X" or { class, type, site, where }',
  },
};

function cell(text: string): string {
  return text.replaceAll("|", "\\|");
}

const examplesFile = new URL("../../scripts/query-examples.json", import.meta.url);

/** Answers kept here: to ask again needs a server, `npm run docs` does not. */
export function storedExamples(): Record<string, string> {
  return JSON.parse(readFileSync(examplesFile, "utf8")) as Record<string, string>;
}

if (process.argv[2] === "--write") {
  writeFileSync(new URL("../../docs/errors.md", import.meta.url), errorsText());
  writeFileSync(new URL("../../docs/queries.md", import.meta.url), queriesText(storedExamples()));
}
