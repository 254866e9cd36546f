import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { repositoryPath } from "./support/run.js";

/** The stages, in the order data flows through them. docs/architecture.md lists the same. */
const stages = ["capture", "decode", "graph", "load", "query", "report", "watch"];
/** What every stage may use: shapes, errors, and the writer that decode and load share. */
const shared = [
  "src/errors.ts",
  "src/bson-writer.ts",
  "src/redaction.ts",
  "src/tool-version.ts",
  "src/word-bytes.ts",
];
/** Where a package may be imported besides its stages. */
const packages: Record<string, readonly string[]> = {
  mongodb: ["src/load/", "src/query/", "src/watch/", "src/import-dump.ts", "bin/"],
  "p-limit": ["src/load/"],
  "stream-json": ["src/decode/"],
  "mongodb-memory-server-core": ["src/load/server/"],
  "env-paths": ["src/load/server/"],
  yauzl: ["src/load/server/"],
};
const root = repositoryPath("");

describe("the source tree", () => {
  const files = ["src", "bin", "schemas"].flatMap((folder) => filesBelow(folder));

  it("has one folder a stage, in the order of flow", () => {
    const folders = readdirSync(join(root, "src"), { withFileTypes: true }).filter((one) =>
      one.isDirectory(),
    );
    for (const { name } of folders) {
      assert.ok(
        stages.includes(name),
        `src/${name}: a new folder is a new stage: it needs a place in the flow`,
      );
    }
    assert.deepEqual([...stages].sort(), stages);
  });

  it("names files in kebab-case, after what they hold", () => {
    for (const file of files) {
      assert.match(file, /^[a-z0-9/-]+\.ts$/, file);
      assert.doesNotMatch(
        file,
        /(^|\/)(utils?|helpers?|common|misc|manager|service|base)(\/|\.ts$)/,
        file,
      );
    }
  });

  it("keeps stages apart: bin/, watch/ and src/*.ts join them", () => {
    for (const file of files) {
      const stage = /^src\/([a-z]+)\//.exec(file)?.[1];
      for (const target of importsOf(file)) {
        if (file.startsWith("schemas/")) {
          assert.ok(
            target.startsWith("schemas/") || target === "src/bson-writer.ts",
            `${file} imports ${target}: schemas/ knows schemas/ only`,
          );
        }
        if (target.startsWith("test/") || target.startsWith("bench/"))
          assert.fail(`${file} imports ${target}`);
        if (stage === undefined || stage === "watch" || !target.startsWith("src/")) continue;
        const isOwn = target.startsWith(`src/${stage}/`);
        assert.ok(
          isOwn || shared.includes(target),
          `${file} imports ${target}: stages are islands; join them in bin/`,
        );
      }
    }
  });

  it("uses each package where it belongs", () => {
    for (const file of files) {
      for (const name of packagesOf(file)) {
        const places = packages[name];
        if (places !== undefined)
          assert.ok(
            places.some((place) => file.startsWith(place)),
            `${file} imports ${name}`,
          );
      }
    }
  });

  it("keeps schemas/ on zod, errors.ts on nothing, and lets the dump's stages know no database", () => {
    for (const file of files) {
      const names = packagesOf(file);
      if (file.startsWith("schemas/")) {
        assert.deepEqual(
          names.filter((name) => name !== "zod"),
          [],
          file,
        );
      }
      if (/^src\/(decode|graph|report)\//.test(file)) {
        assert.ok(!names.some((name) => /^mongodb/.test(name)), `${file} knows of MongoDB`);
      }
      if (file === "src/errors.ts") assert.deepEqual(specifiersOf(file), []);
    }
  });

  it("speaks to the terminal in bin/ only", () => {
    for (const file of files.filter((one) => one.startsWith("src/"))) {
      const text = readFileSync(join(root, file), "utf8").replaceAll(
        /\/\*[\s\S]*?\*\/|\/\/.*/g,
        "",
      );
      assert.doesNotMatch(
        text,
        /\bconsole\.|process\.(stdout|stderr|exit|exitCode)\b/,
        `${file}: library code never prints, never exits`,
      );
    }
  });

  it("has no default exports, and exports nothing anew but in src/index.ts", () => {
    for (const file of files) {
      const text = readFileSync(join(root, file), "utf8");
      assert.doesNotMatch(text, /^export default/m, file);
      if (file !== "src/index.ts")
        assert.doesNotMatch(text, /^export (type )?(\*|\{[^}]*\}) from/m, file);
    }
  });
});

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((one) => one.isFile() && one.name.endsWith(".ts"))
    .map((one) => relative(root, join(one.parentPath, one.name)));
}

function specifiersOf(file: string): string[] {
  const text = readFileSync(join(root, file), "utf8");
  return [...text.matchAll(/^(?:import|export)\b[^;]*?from "([^"]+)"/gm)].map(
    (match) => match[1] ?? "",
  );
}

/** Imported files of ours, as paths from the root. */
function importsOf(file: string): string[] {
  return specifiersOf(file)
    .filter((one) => one.startsWith("."))
    .map((one) => relative(root, resolve(root, dirname(file), one)).replace(/\.js$/, ".ts"));
}

function packagesOf(file: string): string[] {
  return specifiersOf(file).filter((one) => !one.startsWith(".") && !one.startsWith("node:"));
}
