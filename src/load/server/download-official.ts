import { rm } from "node:fs/promises";
import { MongoBinary } from "mongodb-memory-server-core";

/**
 * The official download, a program of its own that `obtainMongod` forks: the library prints its progress on standard
 * output and knows no way to be stopped. Takes the folder and the version, gives the binary's path as a message.
 */
const [, , folder = "", version = ""] = process.argv;
// Killed with -9, our starter cannot clean up; then this process does.
process.once("disconnect", () => {
  void rm(folder, { recursive: true, force: true }).then(() => process.kill(process.pid));
});
// It compares the archive with the MD5 that the same host publishes.
const path = await MongoBinary.getPath({ version, downloadDir: folder, checkMD5: true });
process.send?.(path);
process.removeAllListeners("disconnect");
process.disconnect();
